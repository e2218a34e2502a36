// The facts of a model, as the pages for everyone and for administrators show them.

import { h } from "./dom.js";
import { day, named, number, t } from "./words.js";

/** dt and dd elements. */
export function modelFacts(model) {
  const regions = model.attributes
    .filter((name) => name.startsWith("region:"))
    .map((name) => named("region", name.slice(7)));
  const facts = [
    ["name", model.name],
    ["version", model.version],
    ["network", model.network],
    ["created", day(model.created)],
    ["input", `${number(model.input)} × ${number(model.input)}`],
    [
      "points",
      model.points
        ? t(model.points.low === model.points.high ? "point" : "points", {
            low: number(model.points.low, 3),
            high: number(model.points.high, 3),
          })
        : "–",
    ],
    ["regions", regions.join(", ")],
    ["map", t(model.evidence ? "yes" : "no")],
    ["gate", t(model.scope ? "yes" : "no")],
  ];
  return facts
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [h("dt", {}, t(`model_${name}`)), h("dd", {}, value)]);
}
