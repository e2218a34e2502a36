// What every page has: who is signed in, the menu, language and theme.

import { may, me, remove, signIn } from "./api.js";
import { $, $$, say } from "./dom.js";
import { forgetOthers } from "./drafts.js";
import { t } from "./words.js";

const button = $("#menu-button");
const menu = $("#menu");

function show(isOpen) {
  menu.hidden = !isOpen;
  button.setAttribute("aria-expanded", isOpen);
}

button.addEventListener("click", () => show(menu.hidden));
document.addEventListener("click", (event) => event.target.closest(".menu") || show(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !menu.hidden) {
    show(false);
    button.focus();
  }
});

// A choice keeps the rest of the address: filters and search stay.
for (const link of $$("a[data-choice]")) {
  const to = new URL(location);
  const [[name, value]] = new URLSearchParams(link.getAttribute("href"));
  to.searchParams.set(name, value);
  link.href = to;
}
const here = new URL(location);
if (here.searchParams.has("language") || here.searchParams.has("theme")) {
  here.searchParams.delete("language");
  here.searchParams.delete("theme");
  history.replaceState(null, "", here);
}

async function greet() {
  const person = await me();
  forgetOthers(person.name);
  $("#who").textContent = person.local ? t("local_user") : person.name;
  $("#role").textContent = `${person.local ? t("local_user") : person.name} · ${t(`role_${person.role}`)}`;
  $("#sign-out").hidden = Boolean(person.local);
  const admin = $("[data-nav=admin]");
  if (admin) admin.hidden = !may(person, "administrator");
}

$("#sign-out").addEventListener("click", async () => {
  try {
    await remove("/session");
    sessionStorage.clear();
    location.assign("/login");
  } catch (error) {
    say(error.message, "bad");
  }
});

if (!document.body.classList.contains("page-login")) greet().catch((error) => error.status === 401 && signIn());
