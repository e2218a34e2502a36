// The administrator's room: five panels, each loaded when it is opened.

import { may, me } from "../api.js";
import { $, $$ } from "../dom.js";
import { t } from "../words.js";
import { accounts } from "./accounts.js";
import { model } from "./model.js";
import { storage } from "./storage.js";
import { tokens } from "./tokens.js";
import { trail } from "./trail.js";

const panels = { accounts, tokens, model, trail, storage };
const tabs = $$("[role=tab]");

function choose(name, focus = false) {
  for (const tab of tabs) {
    const on = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !on;
    if (on) tab.scrollIntoView({ inline: "nearest", block: "nearest" });
    if (on && focus) tab.focus();
  }
  history.replaceState(null, "", `#${name}`);
  panels[name]().catch((error) => ($("#refused").textContent = error.message));
}

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    choose(tabs.at(to % tabs.length).getAttribute("aria-controls"), true);
    event.preventDefault();
  });
}

const person = await me();
if (may(person, "administrator")) {
  $("#panels").hidden = false;
  const asked = location.hash.slice(1);
  choose(asked in panels ? asked : "accounts");
} else $("#refused").textContent = t("administrators_only");
