// Files on their way to the server: three at a time, each with its progress, tried again where the
// server is busy. A file is safe when the server has answered 202, or 200 for one that it knew.

import { address, inWords, own, signIn } from "../api.js";
import { h, icon, say } from "../dom.js";
import { called, decision, isOpen, spoken, standing } from "../reading.js";
import { advice, bytes, number, t, why } from "../words.js";

const AT_ONCE = 3;
const PATIENCE = 6;
const BUSY = [0, 429, 502, 503, 504];

/** tray: the element in which files are listed; onStudies: told of studies as they come in. */
export class Uploads {
  constructor(tray, onStudies) {
    this.tray = tray;
    this.list = tray.querySelector("ul");
    this.onStudies = onStudies;
    this.queue = [];
    this.running = 0;
    this.rows = new Map(); // study id → rows that wait for its reading
    this.total = this.done = 0;
    tray.querySelector("[data-clear]").addEventListener("click", () => this.clear());
    addEventListener("beforeunload", (event) => this.running && event.preventDefault());
  }

  add(files) {
    if (!files.length) return;
    this.tray.hidden = false;
    for (const file of files) {
      const row = h(
        "li",
        {},
        h("span", { class: "name" }, file.name),
        h("span", { class: "soft numbers size" }, bytes(file.size)),
        h("span", { class: "state" }),
      );
      this.list.append(row);
      this.queue.push({ file, row, tries: 0 });
      this.state(row, t("upload_queued"));
    }
    this.total += files.length;
    this.count();
    while (this.running < AT_ONCE && this.queue.length) this.next();
  }

  next() {
    const job = this.queue.shift();
    if (!job) return;
    this.running += 1;
    this.send(job).finally(() => {
      this.running -= 1;
      this.next();
    });
  }

  async send(job) {
    const { status, said, wait } = await this.transfer(job);
    if (BUSY.includes(status) && job.tries < PATIENCE) {
      job.tries += 1;
      const seconds = wait || Math.min(30, 2 ** job.tries);
      this.state(job.row, t("upload_again", { seconds: number(seconds) }), "waiting");
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      return this.send(job);
    }
    if (status === 401) signIn();
    this.done += 1;
    this.count();
    if (!said?.studies && !said?.refused) return this.fail(job, inWords(status, said ?? { reason: "offline" }));
    this.took(job, said, status === 200);
  }

  transfer({ file, row }) {
    return new Promise((resolve) => {
      const form = new FormData();
      form.append("files", file, file.name);
      const request = new XMLHttpRequest();
      const bar = h("progress", { max: 1, value: 0, "aria-label": t("upload_progress", { name: file.name }) });
      row.lastChild.replaceChildren(bar);
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) bar.value = event.loaded / event.total;
      };
      request.upload.onload = () => this.state(row, t("upload_storing"), "reading");
      request.responseType = "json";
      request.onloadend = () =>
        resolve({
          status: request.status,
          said: request.response,
          wait: Number(request.getResponseHeader("Retry-After")),
        });
      request.open("POST", address("/studies"));
      for (const [name, value] of Object.entries(own())) request.setRequestHeader(name, value);
      request.send(form);
    });
  }

  took(job, said, known) {
    const studies = said.studies ?? [];
    const refused = said.refused ?? [];
    const rows = studies.map((study, place) => {
      if (place === 0) return job.row;
      const row = h(
        "li",
        {},
        h("span", { class: "name" }, called(study)),
        h("span", { class: "size" }),
        h("span", { class: "state" }),
      );
      job.row.after(row);
      return row;
    });
    const sent = studies.length === 1 ? job.file.name : null; // else a zip, and they have names of their own
    studies.forEach((study, place) => this.follow(study, rows[place], known, sent ?? called(study)));
    for (const one of refused) this.refuse(one, studies.length ? null : job.row);
    if (!studies.length && !refused.length) this.fail(job, t("upload_empty"));
    this.onStudies(studies);
  }

  /** sent: what the file was called here; the study may be called as somebody else sent it first. */
  follow(study, row, known, sent) {
    row.firstChild.replaceChildren(h("a", { href: `/studies/${study.id}` }, sent));
    if (called(study) !== sent) row.firstChild.append(" ", h("span", { class: "soft small" }, called(study)));
    this.rows.set(study.id, [...(this.rows.get(study.id) ?? []), row]);
    if (known) row.firstChild.append(" ", h("span", { class: "tag" }, t("upload_known")));
    this.show(study);
  }

  /** A study has changed: its rows in the tray say so. */
  show(study) {
    for (const row of this.rows.get(study.id) ?? []) row.lastChild.replaceChildren(decision(standing(study)));
    if (isOpen(study) || !this.rows.delete(study.id)) return;
    // What was read is in sight; this tells it to who does not see it.
    this.tray.querySelector("[data-read]").textContent = spoken(study);
  }

  /** Ids of studies whose reading is still awaited here. */
  get open() {
    return [...this.rows.keys()];
  }

  refuse({ name, reason, error }, row) {
    if (!row) {
      row = h(
        "li",
        {},
        h("span", { class: "name" }, name),
        h("span", { class: "size" }),
        h("span", { class: "state" }),
      );
      this.list.append(row);
    }
    this.state(row, why(reason), "bad", advice(reason, error, name));
  }

  fail(job, message) {
    const again = h("button", { type: "button", class: "quiet", onclick: () => this.retry(job) }, t("upload_retry"));
    job.row.lastChild.replaceChildren(h("span", { class: "decision failed" }, icon("failed"), message), again);
    say(`${job.file.name}: ${message}`, "bad");
  }

  retry(job) {
    job.tries = 0;
    this.done -= 1;
    this.queue.push(job);
    this.count();
    if (this.running < AT_ONCE) this.next();
  }

  state(row, text, tone = "", detail = "") {
    const kind = { bad: "failed", waiting: "waiting", reading: "reading" }[tone];
    row.lastChild.replaceChildren(
      kind
        ? h("span", { class: `decision ${kind}` }, icon(kind, tone === "reading" ? "turns" : ""), text)
        : text,
      ...(detail ? [h("span", { class: "soft small" }, detail)] : []),
    );
  }

  count() {
    this.tray.querySelector("[data-count]").textContent = t("upload_count", {
      done: number(this.done),
      total: number(this.total),
    });
  }

  clear() {
    this.rows.clear();
    for (const row of [...this.list.children]) if (!row.querySelector("progress")) row.remove();
    this.tray.hidden = !this.list.children.length;
    if (this.tray.hidden) this.total = this.done = 0;
  }
}

/** All files of a drop, those in folders too. */
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) if (!one.name.startsWith(".")) await walk(one, found);
  }
}
