// The reviewer's own boxes, in pixels of the file as stored: drawn, moved, resized, removed.

import { $, h, icon } from "../dom.js";
import { number, t } from "../words.js";
import { corners, whereabouts } from "./marks.js";

const LEAST = 4; // stage pixels; less was a slip of the hand

export class Boxes {
  /** changed: called when there is something to draw anew. */
  constructor(place, changed) {
    this.list = $("ol", place);
    this.none = $("#no-boxes", place);
    this.draw = $("[data-mode=box]", place);
    this.changed = changed;
    this.all = [];
    this.selected = -1;
    this.draft = null;
    this.touched = false; // since they were set: what is not kept yet
  }

  set(boxes, touched = false) {
    this.touched = touched;
    this.all = boxes.map(({ x, y, width, height }) => ({ x, y, width, height }));
    this.select(-1);
  }

  add(box) {
    this.touched = true;
    this.all.push(box);
    this.select(this.all.length - 1);
    this.list.lastElementChild?.querySelector("button").focus({ preventScroll: true });
  }

  remove(place) {
    this.touched = true;
    this.all.splice(place, 1);
    this.select(-1);
  }

  select(place) {
    this.selected = place;
    this.show();
    this.changed();
  }

  show() {
    const held = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    this.none.hidden = this.all.length > 0;
    this.list.replaceChildren(
      ...this.all.map((box, place) => {
        const name = t("box_name", { number: number(place + 1) });
        return h(
          "li",
          {},
          h(
            "button",
            {
              type: "button",
              class: "quiet pick",
              "aria-pressed": String(place === this.selected),
              onclick: () => this.select(place === this.selected ? -1 : place),
              onkeydown: (event) => this.key(event, place),
            },
            `${name} `,
            h("span", { class: "soft" }, this.where(box)),
          ),
          h(
            "button",
            {
              type: "button",
              class: "quiet icon",
              ariaLabel: t("box_remove", { name }),
              onclick: () => this.remove(place),
            },
            icon("trash"),
          ),
        );
      }),
    );
    // Whose button was made anew goes on there, or where the next box is drawn.
    const item = this.list.children[Math.min(held, this.all.length - 1)];
    if (held >= 0) (item ? $("button", item) : this.draw).focus({ preventScroll: true });
  }

  where(box) {
    return this.view ? whereabouts(this.view, box) : "";
  }

  /** Arrows move the box whose button has the focus, with Shift they resize it. */
  key(event, place) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Delete" || event.key === "Backspace") this.remove(place);
    else if (event.key in steps) {
      const [dx, dy] = steps[event.key].map((step) => step * 4);
      const on = this.view.box(this.all[place]);
      if (event.shiftKey)
        Object.assign(on, { width: Math.max(LEAST, on.width + dx), height: Math.max(LEAST, on.height + dy) });
      else Object.assign(on, { x: on.x + dx, y: on.y + dy });
      this.touched = true;
      this.all[place] = this.kept(on);
      $(".soft", event.currentTarget).textContent = this.where(this.all[place]);
      this.selected = place;
      this.changed();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** A stage's box on the film, within it; where it leaves the film, a pixel of it stays. */
  kept(on) {
    const box = this.view.box(on, "toFilm");
    const [x, width] = within(box.x, box.width, this.view.width);
    const [y, height] = within(box.y, box.height, this.view.height);
    return { x, y, width, height };
  }

  /** Whether any of a stage's box lies on the film. */
  meets(on) {
    const { x, y, width, height } = this.view.box(on, "toFilm");
    return x < this.view.width && y < this.view.height && x + width > 0 && y + height > 0;
  }

  /** A box in the middle of what is seen, to be moved by the keyboard. */
  addMiddle() {
    const { width, height } = this.view.stage;
    const side = Math.min(width, height) / 5;
    this.add(this.kept({ x: (width - side) / 2, y: (height - side) / 2, width: side, height: side }));
  }

  // By pointer: what a press on the stage takes hold of, until it is let go.

  press(x, y, target) {
    const own = target.closest("[data-own]");
    if (own && Number(own.dataset.own) < this.all.length) {
      const place = Number(own.dataset.own);
      const on = this.view.box(this.all[place]);
      const grip = target.dataset.grip;
      const fixed =
        grip &&
        corners(on)
          .find(([name]) => name === opposite(grip))
          .slice(1);
      this.held = fixed ? { place, fixed } : { place, from: [x, y], on };
      this.select(place);
    } else {
      this.held = { fixed: [x, y], place: -1 };
    }
  }

  drag(x, y) {
    if (!this.held) return;
    const { place, fixed, from, on } = this.held;
    const box = fixed ? between(fixed, [x, y]) : { ...on, x: on.x + x - from[0], y: on.y + y - from[1] };
    if (place < 0) this.draft = box;
    else {
      this.touched = true;
      this.all[place] = this.kept(box);
    }
    this.changed();
  }

  release() {
    const box = this.draft;
    this.held = this.draft = null;
    if (box && box.width >= LEAST && box.height >= LEAST && this.meets(box)) this.add(this.kept(box));
    else this.select(this.selected);
  }
}

const opposite = (grip) => (grip[0] === "n" ? "s" : "n") + (grip[1] === "w" ? "e" : "w");

/** What of a side lies on a film of so many pixels: where it begins and its length. */
function within(start, length, pixels) {
  const from = Math.min(pixels - 1, Math.max(0, start));
  return [from, Math.max(1, Math.min(pixels, start + length) - from)];
}

function between([x, y], [u, v]) {
  return { x: Math.min(x, u), y: Math.min(y, v), width: Math.abs(x - u), height: Math.abs(y - v) };
}
