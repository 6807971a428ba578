/** Rows and cells of tables; on phones each row is a card of lines, in which cells bear their labels. */

import { h } from "./dom.js";

/** A table of headers and a `tbody`; the roles stay where the style sheet makes cards of the rows. */
export function tableOf(headers, body, className = "data") {
  body.setAttribute("role", "rowgroup");
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headers));
  return h("table", { className, role: "table" }, head, body);
}

/** The header of a column. */
export function headerOf(column, content = column.label) {
  return h("th", { scope: "col", role: "columnheader", className: classOf(column) }, content);
}

/** The row of these contents, one for each column; the first one is its heading. */
export function rowOf(columns, contents) {
  return h("tr", { role: "row" }, cellsOf(columns, contents));
}

/** A row that says why there are no others. */
export function emptyRow(columns, text) {
  const cell = h("td", { colSpan: columns.length, className: "hint", role: "cell" }, text);
  return h("tr", { role: "row" }, cell);
}

/** The cells of a row. */
export function cellsOf(columns, contents) {
  return columns.map((column, n) => {
    const content = contents[n];
    const isNone = content === null || content === undefined || content === "" || content === "–";
    const className = [classOf(column), isNone && "none"].filter(Boolean).join(" ");
    const shown = isNone ? "–" : content;
    if (n === 0) return h("th", { className, scope: "row", role: "rowheader" }, shown);
    return h("td", { className, role: "cell", dataset: { label: column.label } }, shown);
  });
}

function classOf({ isNumber, isWide, isFree, isTitle }) {
  const classes = [isNumber && "number", isWide && "wide", isFree && "free", isTitle && "title"];
  return classes.filter(Boolean).join(" ");
}
