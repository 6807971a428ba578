/** Rows of a table in memory: search, order, pages, CSV. Pure functions. */

import { LANGUAGE } from "./i18n.js";

const collator = new Intl.Collator(LANGUAGE, { numeric: true, sensitivity: "base" });

/** Rows whose text has all the words of a search. */
export function searched(rows, words, textOf) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return rows;
  return rows.filter((row) => {
    const text = textOf(row);
    return wanted.every((word) => text.includes(word));
  });
}

/** Rows in the order of a value, in a new list; rows without one come last. */
export function sorted(rows, valueOf, isDescending) {
  const sign = isDescending ? -1 : 1;
  const keyed = rows.map((row) => [valueOf(row), row]);
  keyed.sort(([a], [b]) => {
    const [isMissingA, isMissingB] = [isMissing(a), isMissing(b)];
    if (isMissingA || isMissingB) return isMissingA - isMissingB;
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
  });
  return keyed.map(([, row]) => row);
}

/** One page of rows: `{ rows, page, from, to }`; pages count from 1, one too high is the last. */
export function paged(rows, page, size) {
  const last = Math.max(1, Math.ceil(rows.length / size));
  const shown = Math.min(Math.max(1, page), last);
  const start = (shown - 1) * size;
  const end = Math.min(rows.length, start + size);
  return {
    rows: rows.slice(start, end),
    page: shown,
    last,
    from: rows.length ? start + 1 : 0,
    to: end,
  };
}

/** Rows as CSV (RFC 4180); cells that a spreadsheet would take for formulas get an apostrophe. */
export function csvOf(columns, rows) {
  const lines = [columns.map(({ label }) => label)];
  for (const row of rows) lines.push(columns.map(({ value }) => value(row)));
  return lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function csvCell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function isMissing(value) {
  return value === null || value === undefined || value === "";
}
