// A person's judgement of a reading: kept with who and when, never overwritten; the newest counts.

import { may, me, post } from "../api.js";
import { $, $$, h, icon, say } from "../dom.js";
import { putBy, takeUp } from "../drafts.js";
import { date, number, person, t } from "../words.js";

const OPPOSITE = { fracture: "no_fracture", no_fracture: "fracture" };

export class Review {
  /** saved(review, next): called after the server has kept one. */
  constructor(place, boxes, saved) {
    Object.assign(this, { place, boxes, saved, form: $("form", place), begun: new Map() });
    this.problem = $(".problem", place);
    this.form.addEventListener("input", () => (this.isPutBy = false));
    this.form.addEventListener("change", (event) => this.follow(event.target.name));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save(event.submitter?.value === "next");
    });
    $("#take", place).addEventListener("click", () => this.boxes.set(this.reading.findings, true));
  }

  async show(study, reading) {
    Object.assign(this, { study, reading });
    $("#take", this.place).hidden = !reading?.findings?.length;
    this.history(study.reviews ?? []);
    const person = await me();
    const allowed = may(person, "reviewer");
    if (allowed) this.takeUp(person.name);
    $("#not-allowed").hidden = allowed;
    this.form.hidden = !allowed || !reading?.decision;
    this.place.hidden = !study.reviews?.length && !reading?.decision;
    // What was said last is where a correction begins.
    const last = (study.reviews ?? []).filter((review) => review.frame === (reading?.frame ?? 1)).sort(newest)[0];
    if (last && !this.boxes.all.length && last.boxes?.length) this.boxes.set(last.boxes);
    this.resume();
  }

  /** Put away what was begun of this frame: another is turned to. */
  leave() {
    if (!this.reading) return;
    if (this.hasBegun) this.begun.set(this.frame, this.said);
    this.form.reset();
    this.problem.textContent = "";
    this.reading = null;
  }

  /** Go on with what was begun of this frame. */
  resume() {
    const said = this.reading && this.begun.get(this.frame);
    if (!said) return;
    this.begun.delete(this.frame);
    for (const name of ["agrees", "decision", "comment"]) this.form.elements[name].value = said[name];
    this.boxes.set(said.boxes, true);
  }

  /** The session has ended: what is not kept is put by for whoever has begun it. */
  putBy() {
    if (!this.name || !this.dirty) return;
    const begun = new Map(this.begun);
    if (this.reading && this.hasBegun) begun.set(this.frame, this.said);
    this.isPutBy = [...begun].every(([frame, said]) => putBy(this.name, this.study.id, frame, said));
  }

  /** Go on with what this person had begun when the session ended. */
  takeUp(name) {
    if (this.name) return;
    this.name = name;
    const begun = takeUp(name, this.study.id);
    for (const [frame, said] of begun) this.begun.set(frame, said);
    if (begun.length) say(t("review_back"));
  }

  get frame() {
    return this.reading.frame ?? 1;
  }

  /** What the form holds. */
  get said() {
    const { agrees, decision, comment } = this.form.elements;
    return { agrees: agrees.value, decision: decision.value, comment: comment.value, boxes: this.boxes.all };
  }

  /** To agree or not says, mostly, what the decision is, and the other way round. */
  follow(name) {
    const { agrees, decision } = this.form.elements;
    const read = this.reading.decision;
    if (name === "agrees") this.preset();
    else if (name === "decision" && read in OPPOSITE && (decision.value !== read || !agrees.value)) {
      agrees.value = String(decision.value === read);
    }
  }

  preset() {
    const agrees = this.form.elements.agrees.value === "true";
    const read = this.reading.decision;
    const meant = agrees ? (read in OPPOSITE ? read : null) : OPPOSITE[read];
    for (const radio of this.form.elements.decision) radio.checked = radio.value === meant;
  }

  agree(agrees) {
    if (this.form.hidden) return;
    const radio = $$("[name=agrees]", this.form).find((one) => one.value === String(agrees));
    radio.checked = true;
    radio.focus();
    this.preset();
  }

  async save(next = false) {
    if (this.form.hidden || this.saving) return;
    const { agrees, decision, comment } = this.form.elements;
    const lacking = !agrees.value ? "agree" : !decision.value ? "decide" : "";
    if (lacking || (decision.value === "no_fracture" && this.boxes.all.length)) {
      this.problem.textContent = t(lacking ? `review_${lacking}_first` : "review_boxes");
      $(lacking === "agree" ? "[name=agrees]" : "[name=decision]", this.form).focus();
      return;
    }
    this.problem.textContent = "";
    this.saving = true;
    const { frame } = this;
    const sent = JSON.stringify(this.said);
    try {
      const review = await post(`/studies/${this.study.id}/reviews`, {
        frame,
        agrees: agrees.value === "true",
        decision: decision.value,
        boxes: this.boxes.all.map(rounded),
        comment: comment.value.trim(),
      });
      say(t("review_saved"));
      this.forget(frame, sent);
      this.saved(review, next);
    } catch (error) {
      if (this.shows(frame)) this.problem.textContent = error.message;
      else say(`${t("frame", { number: number(frame) })}: ${error.message}`, "bad");
    } finally {
      this.saving = false;
    }
  }

  /** Whether this frame is shown; none is while another is turned to. */
  shows(frame) {
    return Boolean(this.reading) && this.frame === frame;
  }

  /** A frame's review is kept, but not what was said since, of this frame or another. */
  forget(frame, sent) {
    if (!this.shows(frame)) {
      if (JSON.stringify(this.begun.get(frame)) === sent) this.begun.delete(frame);
    } else if (JSON.stringify(this.said) === sent) {
      this.form.reset();
      this.boxes.touched = false;
    }
  }

  history(reviews) {
    $("#history").hidden = !reviews.length;
    $("#history ol").replaceChildren(
      ...[...reviews]
        .sort(newest)
        .map((review, place) =>
          h(
            "li",
            {},
            h(
              "p",
              {},
              h(
                "span",
                { class: `tag ${review.agrees ? "agreed" : "disagreed"}` },
                icon(review.agrees ? "check" : "cross"),
                t(review.agrees ? "agreed" : "disagreed"),
              ),
              ` ${t(`decide_${review.decision}`)}`,
              place === 0 ? h("span", { class: "soft small" }, ` · ${t("review_counts")}`) : null,
            ),
            review.comment ? h("p", { class: "comment" }, review.comment) : null,
            h(
              "p",
              { class: "soft small" },
              [
                person(review.by),
                date(review.at),
                review.boxes?.length ? t("boxes_count", { count: number(review.boxes.length) }) : null,
                this.study.frames > 1 ? t("frame", { number: number(review.frame) }) : null,
              ]
                .filter(Boolean)
                .join(" · "),
            ),
            review.boxes?.length && !this.form.hidden
              ? h(
                  "button",
                  { type: "button", class: "quiet small", onclick: () => this.boxes.set(review.boxes) },
                  t("boxes_show"),
                )
              : null,
          ),
        ),
    );
  }

  /** Whether something of the frame that is shown is not kept yet. */
  get hasBegun() {
    const { agrees, comment } = this.form.elements;
    return this.boxes.touched || comment.value.trim() !== "" || agrees.value !== "";
  }

  /** Whether something of any frame is not kept yet, and not put by either. */
  get dirty() {
    return !this.isPutBy && (this.hasBegun || this.begun.size > 0);
  }
}

const newest = (one, other) => (one.at < other.at ? 1 : -1);
const rounded = (box) =>
  Object.fromEntries(Object.entries(box).map(([name, value]) => [name, Math.round(value * 10) / 10]));
