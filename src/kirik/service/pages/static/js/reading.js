// How a decision, a probability and a region look, wherever they stand.

import { h, icon } from "./dom.js";
import { has, named, probability, t } from "./words.js";

/** Most urgent first; the same order in which the API lists them. */
export const URGENCY = ["fracture", "uncertain", "out_of_scope", "failed", "waiting", "no_fracture"];

/** What a study is, in one word: its decision, or its state while it has none. */
export function standing(study) {
  if (study.state === "failed") return "failed";
  return study.state === "read" ? study.decision : study.state;
}

/** What a study is called: its file's name, or a part of its id where it was de-identified. */
export const called = (study) => study.name || `#${study.id.slice(-8)}`;

export const isOpen = (study) => study.state === "waiting" || study.state === "reading";

/** A decision as shape, colour and word. */
export function decision(name) {
  const known = has(`decision_${name}`);
  return h(
    "span",
    { class: `decision ${name}` },
    icon(known ? name : "info", name === "reading" ? "turns" : ""),
    known ? t(`decision_${name}`) : name,
  );
}

export const region = (word) => (word ? named("region", word) : "");

/** A study and its decision in a sentence. */
export function spoken(study) {
  const name = standing(study);
  const word = has(`decision_${name}`) ? t(`decision_${name}`) : name;
  const known = typeof study.probability === "number" && name !== "out_of_scope";
  return `${called(study)}: ${word}${known ? `, ${t("probability")} ${probability(study.probability)}` : ""}.`;
}

/** Among which of `URGENCY` a study is listed: a class's own name, where every class is a fracture,
    stands with the fractures. */
export function urgency(study) {
  const name = isOpen(study) ? "waiting" : standing(study);
  return URGENCY.includes(name) ? name : "fracture";
}

/** Studies in order of urgency, as the API lists them. */
export function byUrgency(one, other) {
  const rank = (study) => URGENCY.indexOf(urgency(study));
  return (
    rank(one) - rank(other) ||
    (other.probability ?? -1) - (one.probability ?? -1) ||
    (one.id < other.id ? -1 : one.id > other.id ? 1 : 0)
  );
}

/** The probability on a scale from 0 to 1, its operating points marked. */
export function scale(value, points, kind = "") {
  const bar = h("span", { class: `scale ${kind}`, "aria-hidden": "true" });
  const low = points?.low ?? 0.5;
  const high = points?.high ?? 0.5;
  const zone = (name, from, to) => {
    const part = h("i", { class: name });
    part.style.left = `${from * 100}%`;
    part.style.width = `${(to - from) * 100}%`;
    return part;
  };
  if (points) bar.append(zone("no_fracture", 0, low), zone("uncertain", low, high), zone("fracture", high, 1));
  const mark = h("b");
  mark.style.left = `${value * 100}%`;
  bar.append(mark);
  return bar;
}

/** What a probability means by its operating points, in a sentence. */
export function meaning(value, points) {
  if (!points) return "";
  const say = { low: probability(points.low), high: probability(points.high) };
  if (value >= points.high) return t("means_fracture", say);
  return value < points.low ? t("means_no_fracture", say) : t("means_uncertain", say);
}
