// The model in use, and putting in another, which the server checks first.

import { get, post } from "../api.js";
import { $ } from "../dom.js";
import { modelFacts } from "../model.js";
import { t } from "../words.js";

const panel = $("#model");
const form = $("#put-model");

export async function model() {
  $("dl", panel).replaceChildren(...modelFacts(await get("/model")));
}

// A browser's own words for it would be in the browser's language, not the page's.
const chosen = $("#bundle-name");
const none = chosen.textContent;
const nameIt = () => (chosen.textContent = form.elements.bundle.files[0]?.name ?? none);
form.elements.bundle.addEventListener("change", nameIt);
form.addEventListener("reset", () => setTimeout(nameIt));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [problem, status, button] = [$(".problem", form), $("[role=status]", form), $("button", form)];
  const body = new FormData();
  body.append("file", form.elements.bundle.files[0]);
  problem.textContent = "";
  status.textContent = t("model_checking");
  button.disabled = true;
  try {
    const put = await post("/model", body);
    status.textContent = t("model_in", { name: put.name, version: put.version });
    form.reset();
    await model();
  } catch (error) {
    status.textContent = "";
    problem.textContent = error.message;
  } finally {
    button.disabled = false;
  }
});
