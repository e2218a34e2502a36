// The audit trail, newest first, and whether its chain of hashes holds.

import { get } from "../api.js";
import { $, h, icon } from "../dom.js";
import { date, has, named, number, t, why } from "../words.js";

const panel = $("#trail");
let cursor = null;

export async function trail(more = false) {
  const found = await get(`/trail${more && cursor ? `?cursor=${cursor}` : ""}`);
  cursor = found.next;
  if (!more) $("tbody", panel).replaceChildren();
  $("tbody", panel).append(...found.entries.map(row));
  $("#trail-more").hidden = !cursor;
}

/** Whether every entry is as it was written; of a long trail this takes a while. */
async function verify() {
  const button = $("#trail-verify");
  button.disabled = true;
  const place = $("#intact");
  place.textContent = t("trail_checking");
  try {
    const { intact } = await get("/trail?limit=1&verify=true");
    place.className = intact ? "good" : "bad";
    place.replaceChildren(icon(intact ? "check" : "warning"), t(intact ? "trail_intact" : "trail_broken"));
  } catch (error) {
    place.textContent = error.message;
  }
  button.disabled = false;
}

function row(entry) {
  const details = Object.entries(entry.details ?? {})
    .map(([name, value]) => `${named("detail", name)}: ${told(name, value)}`)
    .join(", ");
  return h(
    "tr",
    {},
    h("td", { class: "number" }, number(entry.number)),
    h("td", {}, date(entry.at)),
    h("td", {}, has(`who_${entry.who}`) ? t(`who_${entry.who}`) : entry.who),
    h("td", {}, named("action", entry.action)),
    h("td", {}, entry.subject, details ? h("span", { class: "small soft" }, details) : null),
  );
}

/** A detail's value: its words in the page's language, a hash in short. */
function told(name, value) {
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (value === null) return t("never");
  if (name === "sha256" || name === "bundle") return String(value).slice(0, 12);
  if (name === "reason") return why(value);
  const kind = { role: "role", decision: "decide", why: "why" }[name];
  return kind ? named(kind, value) : String(value);
}

$("#trail-verify").addEventListener("click", verify);
$("#trail-more").addEventListener("click", () => trail(true));
