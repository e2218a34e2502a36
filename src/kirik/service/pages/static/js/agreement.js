// How far people and readings agree: over time, by region, and where they did not.

import { address, get, may, me } from "./api.js";
import { byKind, overTime } from "./charts.js";
import { $, h, icon } from "./dom.js";
import { called, decision, region, standing } from "./reading.js";
import { date, language, number, percent, person, probability, t } from "./words.js";

const short = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" });

function tiles({ reviewed, agreed, missed, false_alarms }) {
  const shown = [
    [reviewed ? percent(agreed / reviewed) : "–", t("tile_agreed")],
    [number(reviewed), t("tile_reviewed")],
    [number(missed), t("tile_missed")],
    [number(false_alarms), t("tile_false_alarms")],
  ];
  $("#tiles").replaceChildren(...shown.map(([value, name]) => h("div", { class: "tile" }, h("b", {}, value), name)));
}

function overruled({ study, review }) {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `/studies/${study.id}?frame=${review.frame}` },
      h("img", {
        src: address(`/studies/${study.id}/image?frame=${review.frame}&size=160`),
        alt: "",
        loading: "lazy",
        width: 72,
        height: 72,
      }),
      h(
        "div",
        {},
        h(
          "span",
          { class: "turned" },
          decision(standing(study)),
          study.probability === null ? null : h("span", { class: "soft numbers" }, probability(study.probability)),
          icon("next", "small"),
          h("b", {}, t(`decide_${review.decision}`)),
        ),
        review.comment ? h("p", {}, review.comment) : null,
        h(
          "p",
          { class: "soft small" },
          [called(study), region(study.region), person(review.by), date(review.at)].filter(Boolean).join(" · "),
        ),
      ),
    ),
  );
}

async function show() {
  $(".take").hidden = !may(await me(), "reviewer");
  const found = await get("/agreement");
  tiles(found.totals);
  const some = found.totals.reviewed > 0;
  $("#none").hidden = some;
  $("#charts").hidden = !some;
  if (!some) return;
  const width = Math.max(280, Math.min(620, $("#by-week").clientWidth));
  $("#by-week").replaceChildren(
    ...overTime(
      found.by_week.map((row) => ({ ...row, name: short.format(new Date(row.week)) })),
      width,
    ),
  );
  $("#by-region").replaceChildren(
    ...byKind(
      found.by_region.map((row) => ({ ...row, name: region(row.region) || t("region_unknown") })),
      t("region"),
      width,
    ),
  );
  $("#overruled").hidden = !found.overruled.length;
  $("#overruled ul").replaceChildren(...found.overruled.map(overruled));
}

show().catch((error) => error.status === 401 || ($("#problem").textContent = error.message));
