// The work list's rows, and where each belongs.

import { address } from "../api.js";
import { h, icon } from "../dom.js";
import { byUrgency, called, decision, isOpen, meaning, region, scale, standing } from "../reading.js";
import { ago, date, named, number, probability, t, why } from "../words.js";

/** A study as a row: one link, read by a screen reader as one sentence. */
export function rowOf(study) {
  const name = standing(study);
  const known = study.probability !== null && study.probability !== undefined;
  return h(
    "li",
    { class: `row ${name}`, data: { id: study.id } },
    h(
      "a",
      { href: `/studies/${study.id}` },
      h("span", { class: "what" }, decision(name), known && name !== "out_of_scope" ? chance(study) : null),
      thumbnail(study),
      h(
        "span",
        { class: "whose" },
        h("span", { class: "name" }, study.patient?.name || called(study)),
        h(
          "span",
          { class: "soft small" },
          [
            study.patient?.id,
            study.patient?.name ? study.name : null,
            study.frames > 1 ? t("frames", { count: number(study.frames) }) : null,
          ]
            .filter(Boolean)
            .join(" · "),
        ),
      ),
      h("span", { class: "where" }, region(study.region)),
      h("span", { class: "notes" }, ...notes(study)),
      h(
        "span",
        { class: "when soft", title: date(study.received_at) },
        h("span", { class: "said" }, t("received")),
        " ",
        h("time", { dateTime: study.received_at }, ago(study.received_at)),
      ),
      icon("next", "go"),
    ),
  );
}

function chance(study) {
  return h(
    "span",
    { class: "chance" },
    h(
      "span",
      { class: "numbers" },
      h("span", { class: "said" }, `${t("probability")} `),
      probability(study.probability),
    ),
    scale(study.probability, study.points, "thin"),
    h("span", { class: "said" }, meaning(study.probability, study.points)),
  );
}

function thumbnail(study) {
  const frame = h("span", { class: "thumb" });
  if (isOpen(study) || study.state === "failed") frame.append(icon(study.state === "failed" ? "failed" : "waiting"));
  else
    frame.append(
      h("img", {
        src: address(`/studies/${study.id}/image?frame=${study.frame}&size=160`),
        alt: "",
        loading: "lazy",
        decoding: "async",
        width: 56,
        height: 56,
      }),
    );
  return frame;
}

function notes(study) {
  const tags = [];
  if (study.state === "failed") tags.push(h("span", { class: "small" }, why(study.reason)));
  for (const warning of study.warnings ?? [])
    tags.push(h("span", { class: "tag" }, icon("warning"), named("warning", warning)));
  if (study.reviewed)
    tags.push(
      h(
        "span",
        { class: `tag ${study.reviewed}` },
        icon(study.reviewed === "agreed" ? "check" : "cross"),
        t(study.reviewed),
      ),
    );
  return tags;
}

/** The rows of the list: what has been loaded, in order of urgency, each study once.

    Rows move only while nobody points into the list: what is about to be clicked stays in its
    place, changed in its words alone. */
export class Rows {
  constructor(list) {
    this.list = list;
    this.studies = new Map();
    this.complete = true; // whether all that the filters ask for is loaded
    this.touched = 0;
    for (const name of ["pointermove", "pointerdown", "focusin"])
      list.addEventListener(name, () => (this.touched = Date.now()));
  }

  clear() {
    this.studies.clear();
    this.list.replaceChildren();
  }

  /** Add a page of the list, in the API's order. */
  append(studies) {
    const fresh = studies.filter((study) => !this.studies.has(study.id));
    for (const study of fresh) this.studies.set(study.id, study);
    this.list.append(...fresh.map(rowOf));
  }

  /** A study that is new or has changed; wanted: whether the filters let it through. */
  update(study, wanted) {
    const old = this.row(study.id);
    if (!wanted) {
      this.studies.delete(study.id);
      old?.remove();
      return;
    }
    if (!old && !this.belongs(study)) return;
    this.studies.set(study.id, study);
    const row = rowOf(study);
    row.classList.add("fresh");
    if (old) {
      const held = old.contains(document.activeElement);
      old.replaceWith(row);
      if (held) row.firstChild.focus();
    } else this.place(row, study);
    if (old) this.settle();
  }

  /** Have these studies and no others, as the server lists them. */
  take(studies) {
    const there = new Set(studies.map((study) => study.id));
    for (const id of this.order) if (!there.has(id)) this.update({ id }, false);
    this.complete = true; // each of them belongs
    for (const study of studies)
      if (JSON.stringify(study) !== JSON.stringify(this.studies.get(study.id))) this.update(study, true);
  }

  row(id) {
    return this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  /** Whether a study that is not loaded stands before the last one that is. */
  belongs(study) {
    const last = this.studies.get(this.list.lastElementChild?.dataset.id);
    return this.complete || !last || byUrgency(study, last) < 0;
  }

  place(row, study) {
    const after = [...this.list.children].find((other) => byUrgency(study, this.studies.get(other.dataset.id)) < 0);
    this.list.insertBefore(row, after ?? null);
  }

  settle() {
    clearTimeout(this.later);
    const rest = 2500 - (Date.now() - this.touched);
    if (rest > 0 && this.list.matches(":hover, :focus-within")) {
      this.later = setTimeout(() => this.settle(), rest);
      return;
    }
    this.sort();
  }

  /** Move only the rows that are out of their order. */
  sort() {
    const wanted = [...this.list.children].sort((one, other) =>
      byUrgency(this.studies.get(one.dataset.id), this.studies.get(other.dataset.id)),
    );
    wanted.forEach((row, place) => {
      if (this.list.children[place] !== row) this.list.insertBefore(row, this.list.children[place]);
    });
  }

  get order() {
    return [...this.list.children].map((row) => row.dataset.id);
  }
}
