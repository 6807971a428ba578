/** Rows of the live page: kept in a bounded list, filtered, counted by type. No DOM. */

import { shortJson } from "../parts/format.js";

export const KEPT = 20_000;
const DROPPED = 5000; // at once, so that it is rare
const WINDOW_MS = 5000;
const DETAILS = 300;
const COLUMNS = new Set([
  "name",
  "type",
  "timestamp",
  "user_id",
  "username",
  "session_id",
  "message_id",
]);

/**
 * A row: when, what, who, where, and the rest as text.
 *
 * @param {object} source an event, or a push of another type
 */
export function rowOf(source, number) {
  const name = source.name ?? source.type;
  const sender = source.sender ?? source.message?.sender;
  const userId = source.user_id ?? (typeof sender === "string" ? sender : sender?.user_id);
  const sessionId = source.session_id ?? source.message?.session_id ?? source.session?.session_id;
  const messageId = source.message_id ?? source.message?.id;
  const rest = {};
  for (const [key, value] of Object.entries(source)) {
    if (!COLUMNS.has(key) && value !== null) rest[key] = value;
  }
  const content = source.message?.content ?? source.content;
  const details = typeof content === "string" ? shortJson(content, DETAILS) : detailsOf(rest);
  return {
    number,
    source,
    at: source.timestamp ?? new Date().toISOString(),
    name,
    userId,
    sessionId,
    messageId,
    details,
    text: `${name}\n${userId ?? ""}\n${source.username ?? ""}\n${sessionId ?? ""}\n${messageId ?? ""}\n${details}`.toLowerCase(),
  };
}

function detailsOf(rest) {
  const isNested = ([, value]) => typeof value === "object";
  const fields = Object.entries(rest).sort((a, b) => isNested(a) - isNested(b));
  const parts = fields.map(([key, value]) => `${key}=${shortJson(value, 80)}`);
  return shortJson(parts.join(" "), DETAILS);
}

export class Rows {
  #all = [];
  #shown = [];
  #words = [];
  #type = null;
  #number = 0;
  #counts = new Map(); // name -> times of the last seconds, oldest first

  /** Rows that match the filter, oldest first. */
  get shown() {
    return this.#shown;
  }

  get size() {
    return this.#all.length;
  }

  /** Count a row, and keep it unless the view is paused. */
  add(source, isPaused, now) {
    this.#number += 1;
    const row = rowOf(source, this.#number);
    const times = this.#counts.get(row.name) ?? [];
    times.push(now);
    this.#counts.set(row.name, times);
    if (isPaused) return;
    this.#all.push(row);
    if (this.#matches(row)) this.#shown.push(row);
    if (this.#all.length > KEPT) {
      this.#all = this.#all.slice(DROPPED);
      const first = this.#all[0].number;
      this.#shown = this.#shown.filter(({ number }) => number >= first);
    }
  }

  /** Show only rows with all these words, and of one type (null: all). */
  filter(words, type) {
    this.#words = words.toLowerCase().split(/\s+/).filter(Boolean);
    this.#type = type;
    this.#shown = this.#all.filter((row) => this.#matches(row));
  }

  clear() {
    this.#all = [];
    this.#shown = [];
  }

  /** Events a second by name over the last five seconds, the most frequent first. */
  rates(now) {
    const rates = [];
    for (const [name, times] of this.#counts) {
      const first = times.findIndex((time) => time > now - WINDOW_MS);
      if (first !== 0) times.splice(0, first < 0 ? times.length : first);
      rates.push([name, times.length / (WINDOW_MS / 1000)]);
    }
    return rates.sort(([a, x], [b, y]) => y - x || a.localeCompare(b));
  }

  #matches(row) {
    if (this.#type !== null && row.name !== this.#type) return false;
    return this.#words.every((word) => row.text.includes(word));
  }
}
