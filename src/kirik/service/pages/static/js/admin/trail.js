// The audit trail, newest first, and whether its chain of hashes holds.

import { get } from "../api.js";
import { $, h, icon } from "../dom.js";
import { date, named, number, t } from "../words.js";

const panel = $("#trail");
let cursor = null;

export async function trail(more = false) {
  const found = await get(`/trail?verify=true${more && cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  cursor = found.next;
  if (!more) $("tbody", panel).replaceChildren();
  $("tbody", panel).append(...found.entries.map(row));
  $("#trail-more").hidden = !cursor;
  if (found.intact === undefined || found.intact === null) return;
  const place = $("#intact");
  place.className = found.intact ? "good" : "bad";
  place.replaceChildren(icon(found.intact ? "check" : "warning"), t(found.intact ? "trail_intact" : "trail_broken"));
}

function row(entry) {
  const details = Object.entries(entry.details ?? {}).map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
  return h("tr", {}, h("td", { class: "number" }, number(entry.number)), h("td", {}, date(entry.at)), h("td", {}, entry.who), h("td", {}, named("action", entry.action)),
    h("td", {}, entry.subject, details ? h("span", { class: "small soft" }, details) : null));
}

$("#trail-more").addEventListener("click", () => trail(true));
