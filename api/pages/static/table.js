// A table whose rows can be ordered by any of its columns.

import { h } from "./dom.js";

// `columns` are { name, of, show, number, text }: `of` gives what a row is ordered by, null where there is nothing;
// `show` what stands in the cell, given that and the row. A column of `text` has room for names and sentences. One that
// holds nothing is left out.
export function table(label, columns, rows) {
  const shown = columns.filter((column) => rows.some((row) => column.of(row) !== null));
  const body = h("tbody");
  const order = (column, descending) => {
    const sign = descending ? -1 : 1;
    const sorted = rows.toSorted((one, other) => compare(column.of(one), column.of(other), sign));
    body.replaceChildren(...sorted.map((row) => line(shown, row)));
  };
  body.append(...rows.map((row) => line(shown, row)));
  const heads = shown.map((column) => head(column, order));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, heads)), body),
  );
}

function head(column, order) {
  const click = ({ currentTarget: button }) => {
    const cell = button.parentElement;
    const descending = cell.getAttribute("aria-sort") === "ascending";
    for (const other of cell.parentElement.children) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    order(column, descending);
  };
  return h("th", { scope: "col", class: kind(column) }, h("button", { type: "button", onclick: click }, column.name));
}

function line(columns, row) {
  const cell = (column) => {
    const value = column.of(row);
    const content = value === null ? "–" : (column.show?.(value, row) ?? String(value));
    return h("td", { class: kind(column) }, content);
  };
  return h("tr", {}, columns.map(cell));
}

const kind = ({ number, text }) => (number ? "number" : text ? "text" : null);

// What there is nothing of comes last, either way.
function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  return sign * (typeof one === "number" ? one - other : String(one).localeCompare(String(other)));
}
