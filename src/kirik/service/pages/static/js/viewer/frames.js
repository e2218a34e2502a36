// The frames of a study that has several: which is shown, what each was read as, and turning to
// another.

import { $, h } from "../dom.js";
import { has, number, probability, t } from "../words.js";

export class Frames {
  /** turn: called with the number of the frame that is asked for. */
  constructor(place, turn) {
    Object.assign(this, { place, turn, choice: $("select", place), at: 1, count: 1 });
    this.choice.addEventListener("change", () => this.to(Number(this.choice.value)));
  }

  /** The frame to begin with: the address's, else the one that speaks for the study. */
  first(study) {
    const asked = Number(new URLSearchParams(location.search).get("frame"));
    return asked >= 1 && asked <= (study.frames ?? 1) ? Math.floor(asked) : (study.frame ?? 1);
  }

  show(study, frame) {
    Object.assign(this, { at: frame, count: study.frames ?? 1 });
    this.place.hidden = this.count < 2;
    if (this.place.hidden) return;
    const readings = new Map((study.readings ?? []).map((one) => [one.frame, one]));
    this.choice.replaceChildren(
      ...Array.from({ length: this.count }, (_, place) =>
        h("option", { value: String(place + 1), selected: place + 1 === frame }, this.name(place + 1, readings)),
      ),
    );
    $("[data-do=frame-previous]", this.place).disabled = frame <= 1;
    $("[data-do=frame-next]", this.place).disabled = frame >= this.count;
    const here = new URL(location);
    here.searchParams.set("frame", frame);
    history.replaceState(null, "", here);
  }

  name(frame, readings) {
    const place = t("frame_of", { number: number(frame), count: number(this.count) });
    const reading = readings.get(frame);
    if (!reading) return place;
    const decision = reading.error ? "failed" : reading.decision;
    const word = has(`decision_${decision}`) ? t(`decision_${decision}`) : decision;
    const known = typeof reading.probability === "number" && decision !== "out_of_scope";
    return `${place}: ${word}${known ? ` ${probability(reading.probability)}` : ""}`;
  }

  to(frame) {
    if (frame >= 1 && frame <= this.count && frame !== this.at) this.turn(frame);
  }
}
