// Small charts as SVG: bars of agreed and disagreed reviews, the share that agreed as a line. Each
// comes with its numbers as a table, for who cannot see it.

import { h, s } from "./dom.js";
import { number, percent, t } from "./words.js";

const PAD = { left: 34, right: 44, top: 14, bottom: 26 };

const hatch = () =>
  s(
    "defs",
    {},
    s(
      "pattern",
      { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("line", { class: "hatch", x1: 1, y1: 0, x2: 1, y2: 6 }),
    ),
  );

/** A round step that gives at most five lines of a grid. */
function stepOf(most) {
  const rough = Math.max(1, most / 4);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

const share = ({ agreed, disagreed }) => (agreed + disagreed ? agreed / (agreed + disagreed) : null);

/** rows: [{name, agreed, disagreed}] in time; width: of the chart in CSS pixels. */
export function overTime(rows, width) {
  const height = 230;
  const inner = { width: width - PAD.left - PAD.right, height: height - PAD.top - PAD.bottom };
  const step = stepOf(Math.max(...rows.map((row) => row.agreed + row.disagreed), 1));
  const top = step * Math.ceil(Math.max(...rows.map((row) => row.agreed + row.disagreed), 1) / step);
  const y = (count) => PAD.top + inner.height * (1 - count / top);
  const slot = inner.width / rows.length;
  const bar = Math.min(38, slot * 0.7);
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, hatch());
  for (let count = 0; count <= top; count += step) {
    chart.append(
      s("line", { class: count ? "grid" : "axis", x1: PAD.left, x2: width - PAD.right, y1: y(count), y2: y(count) }),
      s("text", { x: PAD.left - 6, y: y(count) + 4, "text-anchor": "end" }, number(count)),
    );
  }
  for (const part of [0, 0.5, 1])
    chart.append(s("text", { x: width - PAD.right + 6, y: y(part * top) + 4 }, percent(part)));
  const every = Math.ceil(rows.length / (width / 70));
  rows.forEach((row, place) => {
    const x = PAD.left + slot * (place + 0.5);
    chart.append(
      s("rect", { class: "agreed", x: x - bar / 2, y: y(row.agreed), width: bar, height: y(0) - y(row.agreed), rx: 2 }),
    );
    if (row.disagreed)
      chart.append(
        s("rect", {
          class: "disagreed",
          x: x - bar / 2,
          y: y(row.agreed + row.disagreed),
          width: bar,
          height: y(row.agreed) - y(row.agreed + row.disagreed),
        }),
      );
    if (place % every === 0) chart.append(s("text", { x, y: height - 8, "text-anchor": "middle" }, row.name));
  });
  const dots = rows
    .map((row, place) => [PAD.left + slot * (place + 0.5), share(row)])
    .filter(([, value]) => value !== null)
    .map(([x, value]) => [x, y(value * top)]);
  chart.append(
    s("polyline", { class: "share", points: dots.map((dot) => dot.join(",")).join(" ") }),
    ...dots.map(([cx, cy]) => s("circle", { class: "dot", cx, cy, r: 3.5 })),
  );
  return [legend(true), chart, table(rows, t("week"))];
}

/** rows: [{name, agreed, disagreed}], one bar each. */
export function byKind(rows, title, width) {
  const line = 34;
  const left = 110;
  const height = rows.length * line + 8;
  const most = Math.max(...rows.map((row) => row.agreed + row.disagreed), 1);
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, hatch());
  const room = width - left - 96;
  rows.forEach((row, place) => {
    const y = place * line + 6;
    const [one, other] = [(row.agreed / most) * room, (row.disagreed / most) * room];
    chart.append(
      s("text", { x: left - 10, y: y + 15, "text-anchor": "end" }, row.name),
      s("rect", { class: "agreed", x: left, y, width: one, height: 20, rx: 2 }),
    );
    if (row.disagreed) chart.append(s("rect", { class: "disagreed", x: left + one, y, width: other, height: 20 }));
    chart.append(
      s(
        "text",
        { x: left + one + other + 8, y: y + 15 },
        `${percent(share(row) ?? 0)} · ${number(row.agreed + row.disagreed)}`,
      ),
    );
  });
  return [legend(false), chart, table(rows, title)];
}

function legend(withShare) {
  const swatch = (kind) =>
    s(
      "svg",
      { viewBox: "0 0 18 12", "aria-hidden": "true", class: "chart" },
      kind === "share"
        ? s("line", { class: "share", x1: 0, x2: 18, y1: 6, y2: 6 })
        : s("rect", { class: kind, width: 18, height: 12, rx: 2 }),
    );
  const names = ["agreed", "disagreed", ...(withShare ? ["share"] : [])];
  return h(
    "ul",
    { class: "legend", ariaHidden: "true" },
    ...names.map((name) => h("li", {}, swatch(name), t(name === "share" ? "share_agreed" : name))),
  );
}

function table(rows, title) {
  const head = [title, t("agreed"), t("disagreed"), t("share_agreed")];
  return h(
    "details",
    {},
    h("summary", {}, t("as_table")),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h("tr", {}, ...head.map((text, place) => h("th", { scope: "col", class: place ? "number" : "" }, text))),
        ),
        h(
          "tbody",
          {},
          ...rows.map((row) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, row.name),
              ...[number(row.agreed), number(row.disagreed), share(row) === null ? "–" : percent(share(row))].map(
                (text) => h("td", { class: "number" }, text),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
