// Devices and programs: each has a token, which is shown once and kept only as its hash.

import { get, post, remove } from "../api.js";
import { $, h, open, say } from "../dom.js";
import { date, person, t } from "../words.js";
import { askIn } from "./forms.js";

const panel = $("#tokens");

let asked = 0;

export async function tokens() {
  const mine = (asked += 1);
  const found = await get("/tokens");
  if (mine !== asked) return; // a later question was answered first
  const all = found.tokens ?? found;
  $("table", panel).hidden = !all.length;
  $("#no-tokens").hidden = all.length > 0;
  $("tbody", panel).replaceChildren(...all.map(row));
}

function row(token) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, token.name),
    h("td", {}, t(`role_${token.role}`)),
    h("td", { data: { label: t("made") } }, date(token.created_at), token.created_by ? h("span", { class: "small soft" }, person(token.created_by)) : null),
    h("td", { data: { label: t("last_used") } }, token.last_used_at ? date(token.last_used_at) : t("never_used")),
    h(
      "td",
      { class: "do" },
      h(
        "button",
        { type: "button", class: "bad", ariaLabel: `${t("revoke")}: ${token.name}`, onclick: () => revoke(token) },
        t("revoke"),
      ),
    ),
  );
}

$("[data-open=new-token]").addEventListener("click", () =>
  askIn("new-token", async (values) => {
    const made = await post("/tokens", values);
    $("#secret").textContent = made.token;
    open($("#token-shown"));
    await tokens();
  }),
);

$("#token-shown").addEventListener("close", () => ($("#secret").textContent = ""));
$("#copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("#secret").textContent);
    say(t("copied"));
  } catch {
    getSelection().selectAllChildren($("#secret")); // no clipboard without https: it can be copied by hand
  }
});

function revoke(token) {
  $("#revoke-title").textContent = t("revoke_sure", { name: token.name });
  $("#revoke-now").onclick = async () => {
    try {
      await remove(`/tokens/${token.id}`);
      say(t("revoked", { name: token.name }));
      await tokens();
    } catch (error) {
      say(error.message, "bad");
    }
    $("#revoke").close();
  };
  open($("#revoke"));
}
