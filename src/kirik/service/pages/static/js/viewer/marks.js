// What is drawn over the film and can be touched: findings as boxes, and the reviewer's own.

import { $, s } from "../dom.js";
import { number, probability, t } from "../words.js";

const GRIP = 7;
const FAINT = 0.25; // as pictures have it, see kirik.output.overlay

export class Marks {
  constructor(svg) {
    this.svg = svg;
  }

  /** findings: of the reading, those hidden left out; dashed where a person must decide, and
      where they are faint.
      own: the reviewer's boxes; selected: the place of the one that is being changed, or -1. */
  draw(view, { findings, dashed, own, draft, selected }) {
    const { width, height } = view.stage;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(
      ...findings.map((finding) => this.finding(view.box(finding), finding, dashed)),
      ...own.map((box, place) => this.own(view.box(box), place, place === selected)),
      ...(draft ? [this.own(draft, own.length, false)] : []),
    );
  }

  finding(box, { score, number: place }, dashed) {
    const dash = dashed || score < FAINT ? "8 6" : null;
    const label = `${place} · ${probability(score, 2)}`;
    return s(
      "g",
      { class: "finding", "data-finding": place },
      s("rect", { ...box, class: "rim", "stroke-dasharray": dash }),
      s("rect", { ...box, class: "line", "stroke-dasharray": dash }),
      s("text", { x: Math.max(2, box.x), y: Math.max(14, box.y - 7) }, label),
    );
  }

  own(box, place, selected) {
    const group = s(
      "g",
      { class: `own${selected ? " selected" : ""}`, "data-own": place },
      s("rect", { ...box, class: "rim" }),
      s("rect", { ...box, class: "line" }),
      s(
        "text",
        { x: box.x + box.width - 4, y: box.y + box.height + 17, "text-anchor": "end" },
        t("box_name", { number: number(place + 1) }),
      ),
    );
    if (selected) {
      for (const [name, x, y] of corners(box)) {
        group.append(
          s("rect", {
            class: `grip ${name}`,
            "data-grip": name,
            x: x - GRIP,
            y: y - GRIP,
            width: 2 * GRIP,
            height: 2 * GRIP,
          }),
        );
      }
    }
    return group;
  }
}

export function corners({ x, y, width, height }) {
  return [
    ["nw", x, y],
    ["ne", x + width, y],
    ["sw", x, y + height],
    ["se", x + width, y + height],
  ];
}

/** Where a box lies, in words: "upper left". */
export function whereabouts(view, box) {
  // Of the upright radiograph, however it is turned by hand: the words stay.
  const still = Object.assign(Object.create(Object.getPrototypeOf(view)), view, { turn: 0 });
  const upright = still.box(box);
  const film = still.box({ x: 0, y: 0, width: view.width, height: view.height });
  const third = (at) => Math.min(2, Math.max(0, Math.floor(at * 3)));
  const row = third((upright.y + upright.height / 2 - film.y) / film.height);
  const column = third((upright.x + upright.width / 2 - film.x) / film.width);
  return t(`place_${row}${column}`);
}
