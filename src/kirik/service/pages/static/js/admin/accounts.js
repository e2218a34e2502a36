// Accounts: who may come in, and how far.

import { get, me, patch, post } from "../api.js";
import { $, h, say } from "../dom.js";
import { date, t } from "../words.js";
import { askIn } from "./forms.js";

const panel = $("#accounts");

let asked = 0;

export async function accounts() {
  const mine = (asked += 1);
  const found = await get("/users");
  if (mine !== asked) return; // a later question was answered first
  $("#still-open").hidden = !(await me()).local;
  $("tbody", panel).replaceChildren(...(found.users ?? found).map(row));
}

function row(user) {
  const sees = [user.patients ? t("sees_patients") : t("sees_no_patients"), user.own ? t("sees_own") : null]
    .filter(Boolean)
    .join(", ");
  return h(
    "tr",
    { class: user.enabled ? "" : "off" },
    h("th", { scope: "row" }, user.name),
    h("td", {}, t(`role_${user.role}`), user.enabled ? null : h("span", { class: "small" }, t("disabled"))),
    h("td", {}, sees),
    h("td", { data: { label: t("last_seen") } }, user.last_seen_at ? date(user.last_seen_at) : t("never_seen")),
    h(
      "td",
      { class: "do" },
      h(
        "button",
        { type: "button", ariaLabel: `${t("change")}: ${user.name}`, onclick: () => change(user) },
        t("change"),
      ),
    ),
  );
}

$("[data-open=new-account]").addEventListener("click", () =>
  askIn("new-account", async (values) => {
    const first = (await me()).local;
    await post("/users", values);
    say(t("account_made", { name: values.name }));
    if (first)
      location.assign("/login"); // from now on, everyone signs in
    else await accounts();
  }),
);

function change(user) {
  const form = askIn("change-account", async (values) => {
    if (!values.password) delete values.password;
    await patch(`/users/${encodeURIComponent(user.name)}`, values);
    say(t("account_changed", { name: user.name }));
    await accounts();
  });
  $("h2", form).textContent = user.name;
  form.elements.role.value = user.role;
  form.elements.password.value = "";
  for (const name of ["patients", "own", "enabled"]) form.elements[name].checked = user[name];
}
