/** Numbers, sizes, times and durations as text, in the reader's language and time zone. */

import { LANGUAGE } from "./i18n.js";

const MISSING = "–";
const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 3 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(LANGUAGE, { timeStyle: "medium", hourCycle: "h23" });
const minute = new Intl.DateTimeFormat(LANGUAGE, { timeStyle: "short", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(LANGUAGE, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(LANGUAGE, {
  dateStyle: "medium",
  timeStyle: "medium",
  hourCycle: "h23",
});
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto", style: "short" });
const AGES = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** A count: all digits. */
export function count(value) {
  return isNumber(value) ? whole.format(value) : MISSING;
}

/** A measured number: three significant digits below 1000. */
export function number(value) {
  if (!isNumber(value)) return MISSING;
  return Math.abs(value) >= 1000 ? whole.format(value) : fine.format(value);
}

/** A number in little space, as at an axis: 1.2k, 3M. */
export function compact(value) {
  if (!isNumber(value)) return MISSING;
  return Math.abs(value) >= 1000 ? short.format(value).replace("K", "k") : fine.format(value);
}

/** Bytes in binary units. */
export function bytes(value) {
  if (!isNumber(value)) return MISSING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (Math.abs(value) >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${fine.format(value)} ${units[at]}`;
}

/** Milliseconds, or seconds from 1000 on. */
export function ms(value) {
  if (!isNumber(value)) return MISSING;
  return value >= 1000 ? `${fine.format(value / 1000)} s` : `${fine.format(value)} ms`;
}

/** Seconds as the two largest units: 3 d 4 h. */
export function duration(seconds) {
  if (!isNumber(seconds)) return MISSING;
  const total = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

/** Time of day, with seconds. */
export function timeOf(timestamp) {
  return isValid(timestamp) ? clock.format(new Date(timestamp)) : MISSING;
}

/** Time of day, without seconds. */
export function minuteOf(timestamp) {
  return isValid(timestamp) ? minute.format(new Date(timestamp)) : MISSING;
}

/** Day and month. */
export function dayOf(timestamp) {
  return isValid(timestamp) ? day.format(new Date(timestamp)) : MISSING;
}

/** Date and time. */
export function dateTime(timestamp) {
  return isValid(timestamp) ? full.format(new Date(timestamp)) : MISSING;
}

/** How long ago, or in how long: 3 min. ago. */
export function ago(timestamp, now = Date.now()) {
  if (!isValid(timestamp)) return MISSING;
  const seconds = Math.round((new Date(timestamp).getTime() - now) / 1000);
  const [unit, size] = AGES.find(([, each]) => Math.abs(seconds) >= each) ?? AGES[3];
  return relative.format(Math.trunc(seconds / size), unit);
}

/** JSON on one line, cut to a length. */
export function shortJson(value, limit = 200) {
  const json = typeof value === "string" ? value : JSON.stringify(value);
  if (json === undefined) return "";
  return json.length > limit ? `${json.slice(0, limit)}…` : json;
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function isValid(timestamp) {
  return timestamp !== null && timestamp !== undefined && !Number.isNaN(+new Date(timestamp));
}
