// Dialogs that hold a form: sent, refused in place, or done and closed.

import { $, open } from "../dom.js";

/** Show a dialog; send(values, form) is called until it succeeds, then the dialog closes. */
export function askIn(id, send) {
  const dialog = $(`#${id}`);
  const form = $("form", dialog);
  const problem = $(".problem", form);
  problem.textContent = "";
  form.onsubmit = async (event) => {
    event.preventDefault();
    const button = $("[type=submit]", form);
    button.disabled = true;
    try {
      await send(valuesOf(form), form);
      dialog.close();
      form.reset();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  };
  open(dialog);
  return form;
}

function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (field.name)
      values[field.name] =
        field.type === "checkbox" ? field.checked : field.type === "password" ? field.value : field.value.trim();
  }
  return values;
}
