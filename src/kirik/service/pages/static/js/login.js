// Signing in. What is wrong is said once for name and password together.

import { post } from "./api.js";
import { $ } from "./dom.js";
import { forgetOthers } from "./drafts.js";
import { has, t } from "./words.js";

const form = $("#sign-in");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("button", form);
  const problem = $(".problem", form);
  button.disabled = true;
  problem.textContent = "";
  try {
    const said = { name: form.elements.name.value.trim(), password: form.elements.password.value };
    forgetOthers((await post("/session", said)).name);
    location.assign(form.dataset.next);
  } catch (error) {
    problem.textContent = has(`login_${error.status}`)
      ? t(`login_${error.status}`, { seconds: error.wait ?? "" })
      : error.message;
    form.elements.password.select();
  } finally {
    button.disabled = false;
  }
});
