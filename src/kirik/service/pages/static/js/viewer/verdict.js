// The reading beside the film: decision, probability and what it means, findings, facts.

import { $, h, icon, s } from "../dom.js";
import { called, decision, meaning, region, scale, standing } from "../reading.js";
import { advice, bytes, date, has, named, number, percent, probability, t, why } from "../words.js";
import { whereabouts } from "./marks.js";

/** The decision of a frame, or of the study where it has no reading (yet). */
export function showVerdict(place, study, reading) {
  const failed = study.state === "failed" || Boolean(reading?.error);
  const name = failed ? "failed" : reading ? reading.decision : standing(study);
  const title = decision(name);
  title.classList.add("large");
  const parts = [h("h1", { id: "verdict-title" }, title)];
  if (typeof reading?.probability === "number" && name !== "out_of_scope") parts.push(...chance(reading));
  const why = has(`why_${name}`) ? t(`why_${name}`) : "";
  if (why) parts.push(h("p", {}, why));
  if (failed) parts.push(...trouble(reading?.error ? reading : study));
  parts.push(...warnings(study, reading));
  parts.push(h("p", { class: "disclaimer small" }, icon("warning"), t("disclaimer_reading")));
  place.replaceChildren(...parts.filter(Boolean));
}

function trouble({ reason, error }) {
  return [
    h("p", { class: "problem" }, why(reason)),
    h("p", { class: "soft small" }, advice(reason, error)),
  ];
}

function chance(reading) {
  const { points } = reading;
  const parts = [
    h(
      "p",
      { class: "chance" },
      h("span", {}, t("probability")),
      h("b", { class: "numbers" }, probability(reading.probability)),
    ),
    scale(reading.probability, points),
  ];
  if (points) parts.push(ticks(points));
  parts.push(h("p", {}, meaning(reading.probability, points)));
  parts.push(
    h(
      "p",
      { class: "soft small" },
      t("frequency", { count: number(Math.min(99, Math.max(1, Math.round(reading.probability * 100)))) }),
    ),
  );
  return parts;
}

/** The numbers below the scale. Those of points that lie close together stand together, and an
    end's gives way to a point's close by. */
function ticks({ low, high }) {
  const bar = h("span", { class: "ticks numbers", "aria-hidden": "true" });
  const [from, to] = [probability(low), probability(high)];
  const together = high - low < 0.2;
  const marks = together
    ? [[(low + high) / 2, from === to ? from : `${from} – ${to}`]]
    : [
        [low, from],
        [high, to],
      ];
  const wide = together ? 0.2 : 0.08;
  const ends = [
    [0, "0"],
    [1, "1"],
  ].filter(([end]) => marks.every(([at]) => Math.abs(end - at) > wide));
  for (const [at, text] of [...ends, ...marks].sort(([one], [other]) => one - other)) {
    const tick = h("i", {}, text);
    tick.style.left = `${at * 100}%`;
    bar.append(tick);
  }
  return bar;
}

function warnings(study, reading) {
  const words = [...new Set([...(reading?.warnings ?? []), ...(study.warnings ?? [])])];
  const hardware = reading?.attributes?.hardware;
  if (hardware >= 0.5 && !words.includes("hardware")) words.push("hardware");
  return words.map((word) =>
    h(
      "p",
      { class: "warning" },
      icon("warning"),
      h("span", {}, has(`warn_${word}`) ? t(`warn_${word}`) : named("warning", word)),
    ),
  );
}

/** The findings as a list: each can be hidden, and be brought to the middle. */
export function showFindings(place, reading, view, { hidden, toggle, show }) {
  const findings = reading?.findings ?? [];
  place.hidden = !reading?.decision || reading.decision === "out_of_scope";
  $("ul", place).replaceChildren(
    ...findings.map((finding, index) =>
      h(
        "li",
        {},
        h("input", {
          type: "checkbox",
          checked: !hidden.has(index),
          ariaLabel: t("finding_show", { number: number(index + 1) }),
          onchange: () => toggle(index),
        }),
        h(
          "button",
          { type: "button", class: "quiet", onclick: () => show(finding) },
          h("b", {}, t("finding", { number: number(index + 1) })),
          h("span", { class: "where" }, whereabouts(view, finding)),
          h(
            "span",
            { class: "soft small" },
            [
              t("finding_score", { score: probability(finding.score, 2) }),
              finding.width_mm ? `${number(finding.width_mm)} × ${number(finding.height_mm)} mm` : null,
            ]
              .filter(Boolean)
              .join(" · "),
          ),
        ),
      ),
    ),
  );
  if (!findings.length && reading) {
    const none =
      reading.decision === "no_fracture"
        ? t("findings_none")
        : reading.evidence === false
          ? t("findings_no_map")
          : t("findings_nowhere");
    $("ul", place).replaceChildren(h("li", { class: "soft" }, none));
  }
}

/** "small, version 2" in the page's language; a first version is not named by the API. */
function versioned(model) {
  if (!model) return "";
  const [name, version] = model.split(", version ");
  return `${name} · ${t("fact_version", { version: version ?? "1" })}`;
}

export function showFacts(place, study, reading) {
  const attributes = Object.entries(reading?.attributes ?? {}).filter(([, value]) => value >= 0.5);
  const of = (kind) =>
    attributes
      .filter(([name]) => name.startsWith(`${kind}:`))
      .map(([name, value]) => `${named(kind, name.slice(kind.length + 1))} (${percent(value)})`)
      .join(", ");
  const facts = [
    ["patient", [study.patient?.name, study.patient?.id].filter(Boolean).join(" · ")],
    ["file", `${called(study)} · ${study.kind.toUpperCase()} · ${bytes(study.size)}`],
    ["size", reading?.width ? `${number(reading.width)} × ${number(reading.height)}` : ""],
    ["region", of("region") || region(study.region)],
    ["view", of("view")],
    ["model", versioned(reading?.model || study.model)],
    ["received", date(study.received_at)],
    ["read_at", study.read_at ? date(study.read_at) : ""],
    ["sha256", study.sha256],
  ];
  $("dl", place).replaceChildren(
    ...facts
      .filter(([, value]) => value)
      .map(([name, value]) =>
        h(
          "div",
          {},
          h("dt", {}, t(`fact_${name}`)),
          h("dd", {}, name === "sha256" ? h("code", { class: "small" }, value) : value),
        ),
      ),
  );
}

/** All of it in a sentence, for who cannot see the film. */
export function inWords(study, reading, view) {
  if (!reading?.decision) return t(`decision_${reading ? "failed" : standing(study)}`);
  const parts = [
    `${t("decision")}: ${has(`decision_${reading.decision}`) ? t(`decision_${reading.decision}`) : reading.decision}.`,
  ];
  if (reading.probability !== null && reading.probability !== undefined)
    parts.push(`${t("probability")}: ${probability(reading.probability)}.`);
  parts.push(t("findings_count", { count: number(reading.findings?.length ?? 0) }));
  for (const [index, finding] of (reading.findings ?? []).entries())
    parts.push(`${t("finding", { number: number(index + 1) })}: ${whereabouts(view, finding)}.`);
  return parts.join(" ");
}
