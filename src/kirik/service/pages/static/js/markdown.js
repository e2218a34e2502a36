// As much of Markdown as a model card has: headings, lists, tables, paragraphs, *stress*, `code`.

import { h } from "./dom.js";

/** Elements of a text; nothing in it is ever taken as markup. */
export function markdown(text) {
  const blocks = [];
  for (const part of text.split(/\n\s*\n/)) {
    const lines = part.split("\n").filter((line) => line.trim());
    if (!lines.length) continue;
    const heading = lines[0].match(/^(#{1,4})\s+(.*)/);
    if (heading) {
      blocks.push(h("h3", {}, heading[2]));
      if (lines.length > 1) blocks.push(...markdown(lines.slice(1).join("\n")));
    } else if (lines.every((line) => /^(- |\s{2,})/.test(line))) blocks.push(list(lines));
    else if (lines.length > 1 && lines.every((line) => line.startsWith("|"))) blocks.push(table(lines));
    else blocks.push(h("p", {}, ...inline(lines.join(" "))));
  }
  return blocks;
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (line.startsWith("- ")) items.push(line.slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return h("ul", {}, ...items.map((item) => h("li", {}, ...inline(item))));
}

function table(lines) {
  const rows = lines
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
    .filter((row) => !row.every((cell) => /^[-: ]+$/.test(cell)));
  const [head, ...body] = rows;
  return h(
    "div",
    { class: "scroll", tabIndex: 0, role: "region", ariaLabel: head[0] },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...head.map((cell) => h("th", { scope: "col" }, cell)))),
      h("tbody", {}, ...body.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))),
    ),
  );
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|\*[^*]+\*|`[^`]+`)/).map((piece) => {
    if (piece.startsWith("**")) return h("strong", {}, piece.slice(2, -2));
    if (piece.startsWith("*") && piece.length > 2) return h("em", {}, piece.slice(1, -1));
    return piece.startsWith("`") ? h("code", {}, piece.slice(1, -1)) : piece;
  });
}
