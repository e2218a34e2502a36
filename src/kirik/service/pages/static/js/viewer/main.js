// The viewer: one study, its radiograph, its reading, and a person's judgement of both.

import { address, beforeSignIn, get, may, me, remove } from "../api.js";
import { $, $$, open, say } from "../dom.js";
import { listen } from "../live.js";
import { called, isOpen, standing } from "../reading.js";
import { language, named, number, percent, t } from "../words.js";
import { Boxes } from "./boxes.js";
import { Film } from "./film.js";
import { Frames } from "./frames.js";
import { gestures } from "./gestures.js";
import { keys, keysOn, setKeys } from "./keys.js";
import { Marks } from "./marks.js";
import { Review } from "./review.js";
import { inWords, showFacts, showFindings, showVerdict } from "./verdict.js";
import { View, WHOLE, windowOf } from "./view.js";
import { walk } from "./walk.js";

const id = $("#viewer").dataset.study;
const stage = $("#stage");
const film = new Film($("#canvas"));
const marks = new Marks($("#marks"));
const boxes = new Boxes($("#boxes"), () => draw());
const review = new Review($("#review"), boxes, saved);
const frames = new Frames($("#frames"), (number_) => showFrame(number_));
const opacity = $("#opacity");
const hidden = new Set();
let view = new View(1, 1);
let study = null;
let reading = null;
let frame = null;
let turning = false; // to a frame whose film is not there yet
let mode = "move";
let ways = {};
let scheduled = 0;
const shown = { evidence: kept("evidence", "on") === "on", findings: kept("findings", "on") === "on" };
opacity.value = kept("opacity", "60");

function kept(name, otherwise) {
  return localStorage.getItem(`kirik-${name}`) ?? otherwise;
}

// Drawing

function draw() {
  scheduled ||= requestAnimationFrame(() => {
    scheduled = 0;
    film.draw(view, shown.evidence ? opacity.value / 100 : 0);
    const findings = (reading?.findings ?? []).map((finding, index) => ({ ...finding, number: index + 1 }));
    marks.draw(view, {
      // Before the film is there, nobody knows where they lie.
      findings: shown.findings && film.levels.length ? findings.filter((_, index) => !hidden.has(index)) : [],
      dashed: reading?.decision === "uncertain",
      own: boxes.all,
      draft: boxes.draft,
      selected: boxes.selected,
    });
    corners();
  });
}

function corners() {
  const { centre, width } = view.window;
  $("#corner-window").textContent = t("window_level", { width: number(width), level: number(centre) });
  $("#corner-zoom").textContent = [percent(view.scale), view.turn ? `${number(view.turn)}°` : ""]
    .filter(Boolean)
    .join(" · ");
  press("evidence", shown.evidence);
  press("findings", shown.findings);
  press("invert", view.inverted);
}

function press(name, on) {
  $(`.tools [data-do=${name}]`).setAttribute("aria-pressed", on);
}

new ResizeObserver(([entry]) => {
  view.resize(entry.contentRect.width, entry.contentRect.height);
  view.hold();
  draw();
}).observe(stage);
matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", draw);

// Loading

async function load() {
  try {
    study = await get(`/studies/${id}`);
  } catch (error) {
    if (error.status === 401) return;
    $("#verdict-title").textContent = error.status === 404 ? t("gone") : error.message;
    return;
  }
  document.title = `${named("decision", standing(study))} · ${called(study)} · kirik`;
  await showFrame(frame ?? frames.first(study));
  for (const name of ["pdf", "png", "json"]) $(`#${name}`).hidden = study.state !== "read";
  $("#away").hidden = $("#facts").hidden = false;
  const person = await me();
  $("#original").hidden = study.kind === "dicom" && !person.patients; // it names its patient
  $("#delete-place").hidden = !may(person, "administrator");
}

async function showFrame(number_) {
  const again = frame === number_;
  if (frame && !again) review.leave(); // what was begun of this frame stays this frame's
  frame = number_;
  turning = true;
  reading = (study.readings ?? []).find((one) => (one.frame ?? 1) === frame) ?? null;
  hidden.clear();
  boxes.set([]);
  frames.show(study, frame);
  showVerdict($("#verdict"), study, reading);
  offer();
  await loadFilm();
  if (frame !== number_) return; // another was turned to meanwhile
  turning = false;
  showFacts($("#facts"), study, reading);
  listFindings();
  await review.show(study, reading);
  draw();
}

/** What can be taken away, of this frame. */
function offer() {
  for (const [name, path] of [
    ["pdf", `report.pdf?language=${language}`],
    ["png", `overlay.png?language=${language}`],
    ["json", "result.json"],
    ["original", "original"],
  ]) {
    const part = path.includes("?") ? `&frame=${frame}` : "";
    $(`#${name}`).href = address(`/studies/${id}/${path}${part}`);
  }
}

async function loadFilm() {
  const [state, asked] = [$("#film-state"), frame];
  state.textContent = t("film_loading");
  try {
    const size = await film.load(address(`/studies/${id}/image?frame=${frame}`), () => frame === asked);
    if (frame !== asked) return;
    // Boxes are in pixels of the file; the picture may be smaller, and its pixels are squares.
    const [width, height] = [reading?.width || size.width, reading?.height || size.height];
    const aspect = (size.height * width) / (size.width * height);
    const square = Math.abs(aspect - 1) < 0.02; // or a rounded side
    view = new View(width, height, reading?.orientation ?? 1, square ? 1 : aspect);
    view.resize(stage.clientWidth, stage.clientHeight);
    state.textContent = "";
    $(".film").classList.remove("none");
  } catch {
    if (frame !== asked) return;
    film.clear();
    $(".film").classList.add("none");
    state.textContent = t(study.state === "failed" ? "film_failed" : "film_missing");
  }
  boxes.view = view;
  film.evidence = null;
  const has = Boolean(reading?.evidence);
  if (has) film.loadEvidence(address(`/studies/${id}/evidence?frame=${frame}`), () => frame === asked).then(draw, () => {});
  $("#film-text").textContent = inWords(study, reading, view);
  draw();
}

function listFindings() {
  showFindings($("#found"), reading, view, {
    hidden,
    toggle(index) {
      if (!hidden.delete(index)) hidden.add(index);
      shown.findings = true;
      draw();
    },
    show(finding) {
      view.show(finding);
      draw();
      stage.scrollIntoView({ block: "nearest" });
    },
  });
}

async function saved(_, next) {
  if (next && ways.next) return location.assign(ways.next);
  study = await get(`/studies/${id}`);
  if (!turning) await review.show(study, reading);
}

// What buttons and keys do; `said` is told to a screen reader.

let telling;
function told(text) {
  clearTimeout(telling);
  telling = setTimeout(() => ($("#film-state").textContent = text), 250);
  setTimeout(() => $("#film-state").textContent === text && ($("#film-state").textContent = ""), 2500);
}
const windowed = () => told(t("window_level", { width: number(view.window.width), level: number(view.window.centre) }));

const act = {
  in: () => zoom(1.25),
  out: () => zoom(0.8),
  fit: () => (view.fit(), draw(), told(percent(view.scale))),
  full: () => zoom(1 / view.scale),
  auto() {
    const same = view.window.width !== WHOLE.width || view.window.centre !== WHOLE.centre;
    view.window = same ? { ...WHOLE } : windowOf(film.histogram());
    draw();
    windowed();
  },
  invert: () => ((view.inverted = !view.inverted), draw(), told(t(view.inverted ? "inverted" : "not_inverted"))),
  rotate: () => (view.rotate(90), draw(), told(`${number(view.turn)}°`)),
  back: () => (view.rotate(-90), draw(), told(`${number(view.turn)}°`)),
  reset: () => (view.reset(), draw(), told(t("was_reset"))),
  evidence: () => toggle("evidence"),
  findings: () => toggle("findings"),
  stronger() {
    opacity.value = opacity.value >= 100 ? 20 : Math.min(100, Number(opacity.value) + 20);
    opacity.dispatchEvent(new Event("input"));
    told(t("opacity_is", { value: percent(opacity.value / 100) }));
  },
  help: () => open($("#help")),
  "frame-previous": () => frames.to(frame - 1),
  "frame-next": () => frames.to(frame + 1),
};

function zoom(factor) {
  view.zoomAt(factor);
  draw();
  told(percent(view.scale));
}

function toggle(name) {
  shown[name] = !shown[name];
  if (name === "findings" && shown.findings) {
    hidden.clear();
    listFindings();
  }
  localStorage.setItem(`kirik-${name}`, shown[name] ? "on" : "off");
  draw();
  told(t(`${name}_${shown[name] ? "on" : "off"}`));
}

function setMode(name) {
  mode = name;
  stage.dataset.mode = name;
  for (const button of $$("[role=radio][data-mode]")) {
    button.setAttribute("aria-checked", button.dataset.mode === name);
    button.tabIndex = button.dataset.mode === name ? 0 : -1;
  }
  told(t(`mode_${name}`));
}

function window_(dx, dy) {
  view.shift(dx * 0.8, dy * 0.6);
  draw();
}

for (const button of $$("[data-do]")) button.addEventListener("click", () => act[button.dataset.do]());
for (const button of $$("[data-mode]")) {
  button.addEventListener("click", (event) => {
    setMode(button.dataset.mode);
    if (!button.closest(".tools")) stage.scrollIntoView({ block: "nearest" });
    // A press of Enter has no pointer that could draw: the box is put in the middle.
    if (button.dataset.mode === "box" && event.detail === 0 && !review.form.hidden) boxes.addMiddle();
  });
  button.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || button.getAttribute("role") !== "radio") return;
    const all = $$("[role=radio][data-mode]");
    const next = all.at((all.indexOf(button) + step) % all.length);
    setMode(next.dataset.mode);
    next.focus();
    event.preventDefault();
  });
}
opacity.addEventListener("input", () => {
  localStorage.setItem("kirik-opacity", opacity.value);
  shown.evidence = true;
  draw();
});
setMode("move");
$("#film-state").textContent = "";
clearTimeout(telling);

gestures(stage, {
  mode: () => (mode === "box" && review.form.hidden ? "move" : mode),
  pan: (dx, dy) => (view.pan(dx, dy), draw()),
  zoom: (factor, x, y) => (view.zoomAt(factor, x, y), draw()),
  window: window_,
  press: (x, y, target) => boxes.press(x, y, target),
  drag: (x, y) => boxes.drag(x, y),
  release: () => boxes.release(),
  fit: () => act.fit(),
  settled: () => {},
});

const pan = (dx, dy) => () => (view.pan(dx, dy), draw());
const level = (dx, dy) => () => (view.shift(dx, dy), draw(), windowed());
keys({
  ArrowLeft: pan(60, 0),
  ArrowRight: pan(-60, 0),
  ArrowUp: pan(0, 60),
  ArrowDown: pan(0, -60),
  "Shift+ArrowLeft": level(-10, 0),
  "Shift+ArrowRight": level(10, 0),
  "Shift+ArrowUp": level(0, -6),
  "Shift+ArrowDown": level(0, 6),
  "+": act.in,
  "-": act.out,
  0: act.fit,
  1: act.full,
  m: () => setMode("move"),
  w: () => setMode("window"),
  b: () => setMode("box"),
  o: act.auto,
  i: act.invert,
  r: act.rotate,
  "Shift+r": act.back,
  z: act.reset,
  e: act.evidence,
  "Shift+e": act.stronger,
  f: act.findings,
  "?": act.help,
  a: () => review.agree(true),
  d: () => review.agree(false),
  c: () => $("#comment").focus(),
  "Ctrl+Enter": () => review.save(),
  n: () => ways.next && location.assign(ways.next),
  p: () => ways.previous && location.assign(ways.previous),
  l: () => location.assign($("#back").href),
  PageUp: act["frame-previous"],
  PageDown: act["frame-next"],
  Escape: () => (setMode("move"), boxes.select(-1), stage.focus()),
});
$("#keys-on").checked = keysOn();
$("#keys-on").addEventListener("change", (event) => setKeys(event.target.checked));

$("#delete").addEventListener("click", () => open($("#sure")));
$("#delete-now").addEventListener("click", async () => {
  try {
    await remove(`/studies/${id}`);
    location.assign($("#back").href);
  } catch (error) {
    $("#sure").close();
    say(error.message, "bad");
  }
});
beforeSignIn(() => review.putBy());
addEventListener("beforeunload", (event) => review.dirty && event.preventDefault());

await load();
ways = await walk(id).catch(() => ({}));
if (ways.next) new Image().src = ways.next.replace("/studies/", "/api/v1/studies/") + "/image?frame=1";
if (study && isOpen(study)) {
  const look = (now) => now.id === id && isOpen(study) && !isOpen(now) && load();
  listen({ study: look, joined: async () => look(await get(`/studies/${id}`)) });
}
