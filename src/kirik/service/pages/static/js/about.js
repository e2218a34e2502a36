// The model that reads: its facts, its figures, its card.

import { get } from "./api.js";
import { $, h } from "./dom.js";
import { markdown } from "./markdown.js";
import { modelFacts } from "./model.js";
import { has, number, t } from "./words.js";

async function show() {
  const model = await get("/model");
  $("#facts").replaceChildren(...modelFacts(model));
  $("#facts").hidden = false;
  const figures = Object.entries(model.figures).filter(([name, [value]]) => value !== null && has(`figure_${name}`));
  $("#figures").hidden = !figures.length;
  $("#figures tbody").replaceChildren(
    ...figures.map(([name, [value, low, high]]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, t(`figure_${name}`)),
        h("td", { class: "number" }, number(value, 3)),
        h("td", { class: "number" }, low === null || low === undefined ? "–" : `${number(low, 3)}–${number(high, 3)}`),
      ),
    ),
  );
  $("#card").replaceChildren(...markdown(model.card));
}

show().catch((error) => error.status === 401 || ($("#problem").textContent = error.message));
