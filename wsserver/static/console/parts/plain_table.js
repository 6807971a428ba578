/** A table of few rows, drawn anew whenever they change. */

import { fill, h } from "./dom.js";
import { headerOf, rowOf, tableOf } from "./table_cells.js";

/**
 * @param {string} label
 * @param {{label: string, cell: (row) => any, isNumber?: boolean, isWide?: boolean, isFree?: boolean,
 *   isTitle?: boolean}[]} columns
 *   the first one is the heading of its row; `isWide`: left out on phones; `isFree`: may have several lines;
 *   `isTitle`: what a row is, beside its heading: without a label on phones
 * @param {object[]} rows
 * @param {string} empty what is shown without rows
 */
export function dataTable(label, columns, rows, empty) {
  if (!rows.length) return h("p", { className: "hint" }, empty);
  const lines = rows.map((row) =>
    rowOf(
      columns,
      columns.map(({ cell }) => cell(row)),
    ),
  );
  const headers = columns.map((column) => headerOf(column));
  return h(
    "div",
    { className: "scroll", tabIndex: 0, role: "group", "aria-label": label },
    tableOf(headers, h("tbody", {}, lines)),
  );
}

/** Draw it into its place, unless something in it has the focus, which would vanish. */
export function showTable(place, ...given) {
  if (!place.contains(document.activeElement)) fill(place, dataTable(...given));
}
