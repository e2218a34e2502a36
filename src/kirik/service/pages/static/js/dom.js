// Making and finding elements. Text is always set as text, never as markup.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element: h("a", {href: "/"}, "text", child). Names starting with "on" are listeners. */
export const h = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);

/** The same for SVG. */
export const s = (tag, properties = {}, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** One of the page's icons, which never speaks: the word beside it does. */
export const icon = (name, kind = "") =>
  s("svg", { "aria-hidden": "true", class: kind }, s("use", { href: `#i-${name}` }));

/** Say something in passing, to the eye and to a screen reader. */
export function say(text, tone = "") {
  const toast = h("div", { class: `toast ${tone}` }, text);
  $("#toasts").append(toast);
  setTimeout(() => toast.remove(), tone === "bad" ? 9000 : 4500);
}

/** Show a dialog; its buttons with data-close close it. */
export function open(dialog) {
  dialog.showModal();
  dialog.onclick = (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  };
}
