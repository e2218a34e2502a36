// What the list is asked for: chips by decision, region, review, time, and words. It stands in the
// page's address, so that a view can be kept and sent on.

import { $, $$ } from "../dom.js";
import { number } from "../words.js";
import { urgency } from "../reading.js";

const NAMES = ["decision", "region", "reviewed", "since", "q"];
const DAY = 86_400_000;

export class Filters {
  constructor(form, onChange) {
    this.form = form;
    this.onChange = onChange;
    const asked = new URLSearchParams(location.search);
    for (const name of ["region", "reviewed", "since", "q"])
      if (asked.get(name)) form.elements[name].value = asked.get(name);
    this.chip = asked.get("decision") ?? "";
    this.press();
    for (const chip of $$("[data-chip]", form)) chip.addEventListener("click", () => this.choose(chip.dataset.chip));
    form.addEventListener("change", () => this.changed());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.changed();
    });
    form.elements.q.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.changed(), 300);
    });
  }

  choose(chip) {
    this.chip = this.chip === chip ? "" : chip;
    this.press();
    this.changed();
  }

  press() {
    for (const chip of $$("[data-chip]", this.form)) chip.setAttribute("aria-pressed", chip.dataset.chip === this.chip);
  }

  /** The API's parameters. */
  get query() {
    const { region, reviewed, since, q } = this.form.elements;
    const query = new URLSearchParams();
    if (this.chip) query.set("decision", this.chip);
    if (region.value) query.set("region", region.value);
    if (reviewed.value) query.set("reviewed", reviewed.value);
    if (since.value) query.set("since", new Date(Date.now() - since.value * DAY).toISOString());
    if (q.value.trim()) query.set("q", q.value.trim());
    return query;
  }

  get narrowed() {
    return this.query.size > 0;
  }

  /** Whether the counts are of a part, too: all but the decision narrows them. */
  get partial() {
    return [...this.query.keys()].some((name) => name !== "decision");
  }

  changed() {
    const shown = new URL(location);
    for (const name of NAMES) shown.searchParams.delete(name);
    for (const [name, value] of this.query)
      shown.searchParams.set(name, name === "since" ? this.form.elements.since.value : value);
    if (String(shown) === this.last) return;
    this.last = String(shown);
    history.replaceState(null, "", shown);
    this.onChange();
  }

  reset() {
    this.form.reset();
    this.choose("");
    this.changed();
  }

  /** Whether only the server can tell what belongs in what is asked for: it searches without accents,
      in more than is shown, and its clock counts. */
  get searched() {
    return this.query.has("q") || this.query.has("since");
  }

  /** Whether a study that came by an event belongs in what is asked for, words and time aside. */
  lets(study) {
    const { region, reviewed } = this.form.elements;
    return (
      (!this.chip || urgency(study) === this.chip) &&
      (!region.value || study.region === region.value) &&
      (!reviewed.value ||
        (reviewed.value === "no"
          ? !study.reviewed
          : reviewed.value === "yes"
            ? Boolean(study.reviewed)
            : study.reviewed === reviewed.value))
    );
  }

  counts(counts) {
    let all = 0;
    for (const chip of $$("[data-chip]", this.form)) {
      if (!chip.dataset.chip) continue;
      const count = counts[chip.dataset.chip] ?? 0;
      all += count;
      $("b", chip).textContent = number(count);
    }
    $("[data-chip=''] b", this.form).textContent = number(all);
    return all;
  }
}
