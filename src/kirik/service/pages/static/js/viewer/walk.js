// The next and the previous study, in the order of the list that one came from.

import { get } from "../api.js";
import { $ } from "../dom.js";
import { number, t } from "../words.js";

const KEY = "kirik-list";

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? null;
  } catch {
    return null;
  }
}

/** Fill the links; gives {next, previous}, addresses or null. */
export async function walk(id) {
  let list = remembered();
  if (!list?.order.includes(id)) list = await extended({ order: [], query: "", cursor: null, back: "/" }, true);
  if (list.order.at(-1) === id && list.cursor) list = await extended(list);
  const at = list.order.indexOf(id);
  const there = { previous: list.order[at - 1], next: at >= 0 ? list.order[at + 1] : list.order[0] };
  $("#back").href = list.back;
  $("#place").textContent =
    at >= 0 ? t("place", { place: number(at + 1), count: number(list.order.length) + (list.cursor ? "+" : "") }) : "";
  for (const [name, study] of Object.entries(there)) {
    const link = $(`#${name}`);
    if (study) {
      link.href = `/studies/${study}`;
      link.removeAttribute("aria-disabled");
    }
    there[name] = study ? link.href : null;
  }
  return there;
}

async function extended(list, fresh = false) {
  const query = new URLSearchParams(list.query);
  query.set("limit", 50);
  if (list.cursor) query.set("cursor", list.cursor);
  const found = await get(`/studies?${query}`);
  const order = [...list.order, ...found.studies.map((study) => study.id).filter((one) => !list.order.includes(one))];
  const longer = { ...list, order, cursor: found.next };
  if (!fresh) sessionStorage.setItem(KEY, JSON.stringify(longer));
  return longer;
}
