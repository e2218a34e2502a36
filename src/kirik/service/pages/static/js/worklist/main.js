// The work list: what was dropped, what was read, most urgent first, as it changes.

import { get } from "../api.js";
import { $, say } from "../dom.js";
import { listen } from "../live.js";
import { ago, number, t } from "../words.js";
import { Filters } from "./filters.js";
import { Rows } from "./rows.js";
import { Uploads, filesOf } from "./upload.js";

const LIMIT = 50;
const KEY = "kirik-list";
const rows = new Rows($("#list"));
const filters = new Filters($("#filters"), () => load());
const uploads = new Uploads($("#tray"), (studies) => studies.forEach(changed));
const ending = new IntersectionObserver(
  (seen) => seen.at(-1).isIntersecting && cursor && !$("#list").ariaBusy && load(true),
  { rootMargin: "600px" },
);
let cursor = null;
let asking = null;
let again = null; // the timer of a question that is put off
let told = 0; // events so far

async function load(more = false) {
  asking?.abort();
  const mine = (asking = new AbortController());
  $("#list").setAttribute("aria-busy", "true");
  const query = filters.query;
  query.set("limit", LIMIT);
  if (more && cursor) query.set("cursor", cursor);
  try {
    const found = await get(`/studies?${query}`, mine.signal);
    if (!more) rows.clear();
    rows.append(found.studies);
    cursor = found.next;
    rows.complete = !cursor;
    show(filters.counts(found.counts));
    if (!more) say_found(found);
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 401) say(error.message, "bad");
    return;
  } finally {
    if (mine === asking) $("#list").removeAttribute("aria-busy");
  }
  // Watched anew, the end of the list says once more whether it is in sight.
  ending.unobserve($("#more"));
  ending.observe($("#more"));
}

/** What may have changed unseen: as much of the list as is loaded, as the server has it now, and what
    was handed in here. */
async function refresh() {
  const [before, asked] = [told, asking];
  const { studies, next, counts } = await asLoaded();
  for (const id of uploads.open) uploads.show(await get(`/studies/${id}`));
  // Another list was asked for meanwhile, or more of this one.
  if (asked !== asking || $("#list").ariaBusy) return soon();
  studies.forEach((study) => uploads.show(study));
  rows.take(studies);
  cursor = next;
  rows.complete = !cursor;
  show(filters.counts(counts));
  if (told !== before) soon(); // what was told meanwhile may be newer than the answer
}

async function asLoaded() {
  const query = filters.query;
  query.set("limit", Math.min(4 * LIMIT, Math.max(LIMIT, rows.studies.size)));
  const found = await get(`/studies?${query}`);
  while (found.next && found.studies.length < rows.studies.size) {
    query.set("cursor", found.next);
    const more = await get(`/studies?${query}`);
    found.studies.push(...more.studies);
    found.next = more.next;
  }
  return found;
}

/** Ask for the list once more, a little later, for all that happens until then together. */
function soon() {
  again ??= setTimeout(() => {
    again = null;
    refresh().catch(failed);
  }, 2000);
}

const failed = (error) => error.status === 401 || say(error.message, "bad");

function say_found(found) {
  $("#found").textContent = t(found.next ? "found_more" : "found", { count: number(found.studies.length) });
}

function show(all = null) {
  const none = rows.studies.size === 0;
  $("#empty").hidden = !none || filters.narrowed || all > 0;
  $("#nothing").hidden = !none || !filters.narrowed;
  $("#more").hidden = !cursor;
  remember();
}

/** The viewer's next and previous follow this order. */
function remember() {
  const query = filters.query;
  sessionStorage.setItem(
    KEY,
    JSON.stringify({ order: rows.order, cursor, query: String(query), back: location.pathname + location.search }),
  );
}

function changed(study) {
  told += 1;
  uploads.show(study);
  const lets = filters.lets(study);
  if (lets && filters.searched && !rows.studies.has(study.id)) return soon();
  rows.update(study, lets);
  show();
}

function gone(study) {
  told += 1;
  rows.update(study, false);
  show();
}

let counting;
function counted(counts) {
  if (!filters.partial) return filters.counts(counts);
  counting ??= setTimeout(async () => {
    counting = null;
    const query = filters.query;
    query.set("limit", 1);
    await get(`/studies?${query}`).then((found) => filters.counts(found.counts), failed);
  }, 2000);
}

// Files: dropped anywhere on the page, pasted, or chosen.
const zone = $("#zone");
$("#files").addEventListener("change", (event) => {
  uploads.add([...event.target.files]);
  event.target.value = "";
});
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? zone.classList.remove("over"));
addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  zone.classList.remove("over");
  uploads.add(await filesOf(event.dataTransfer));
});
addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length && !event.target.closest("input, textarea"))
    uploads.add([...event.clipboardData.files]);
});

$("#more").addEventListener("click", () => load(true));
$("#reset").addEventListener("click", () => filters.reset());
// Keyboard: "/" searches, J and K walk through the rows.
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const links = [...document.querySelectorAll("#list a")];
  const at = links.indexOf(document.activeElement);
  const steps = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  if (event.key === "/") $("#filters").elements.q.focus();
  else if (event.key in steps && (at >= 0 || event.key.length === 1))
    links[Math.max(0, at + steps[event.key])]?.focus();
  else return;
  event.preventDefault();
});

setInterval(() => {
  for (const time of document.querySelectorAll("#list time")) time.textContent = ago(time.dateTime);
}, 60_000);

await load();
listen({
  study: changed,
  gone,
  counts: counted,
  joined: () => refresh().catch(failed),
});
