/** A table of few rows, drawn anew whenever they change. */

import { fill, h } from "./dom.js";

/**
 * @param {string} label
 * @param {{label: string, cell: (row) => any, isNumber?: boolean, isWide?: boolean, isFree?: boolean}[]} columns
 *   the first one is the heading of its row; `isWide`: left out on phones; `isFree`: may have several lines
 * @param {object[]} rows
 * @param {string} empty what is shown without rows
 */
export function dataTable(label, columns, rows, empty) {
  if (!rows.length) return h("p", { className: "hint" }, empty);
  const line = (row) =>
    h(
      "tr",
      {},
      columns.map((column, n) =>
        h(
          n ? "td" : "th",
          { className: classOf(column), ...(n ? {} : { scope: "row" }) },
          column.cell(row) ?? "–",
        ),
      ),
    );
  const head = columns.map((column) =>
    h("th", { scope: "col", className: classOf(column) }, column.label),
  );
  return h(
    "div",
    { className: "scroll", tabIndex: 0, role: "group", "aria-label": label },
    h(
      "table",
      { className: "data" },
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, rows.map(line)),
    ),
  );
}

/** The class of a column's cells. */
export function classOf({ isNumber, isWide, isFree }) {
  return [isNumber && "number", isWide && "wide", isFree && "free"].filter(Boolean).join(" ");
}

/** Draw it into its place, unless something in it has the focus, which would vanish. */
export function showTable(place, ...given) {
  if (!place.contains(document.activeElement)) fill(place, dataTable(...given));
}
