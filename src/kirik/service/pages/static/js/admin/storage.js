// How much is stored, and for how long.

import { get, put } from "../api.js";
import { $, h, say } from "../dom.js";
import { bytes, day, number, t } from "../words.js";

const panel = $("#storage");
const form = $("#retention");
let typed = false; // what a person is typing is not overwritten by a late answer

export async function storage() {
  show(await get("/storage"));
}

function show(kept) {
  const tiles = [
    [number(kept.studies), t("stored_studies")],
    [bytes(kept.bytes), t("stored_bytes")],
    [bytes(kept.free_bytes), t("stored_free")],
    [kept.oldest ? day(kept.oldest) : "–", t("stored_oldest")],
  ];
  $(".tiles", panel).replaceChildren(
    ...tiles.map(([value, name]) => h("div", { class: "tile" }, h("b", {}, value), name)),
  );
  if (!typed) form.elements.days.value = kept.retention_days ?? "";
}

form.addEventListener("input", () => (typed = true));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const days = form.elements.days.value ? Number(form.elements.days.value) : null;
  try {
    await put("/storage", { retention_days: days });
    typed = false;
    $(".problem", form).textContent = "";
    say(t(days ? "retention_set" : "retention_none", { days: number(days ?? 0) }));
    await storage();
  } catch (error) {
    $(".problem", form).textContent = error.message;
  }
});
