/**
 * Flight recorder: the last protocol events of a client, for a report to support. Records by a list
 * of fields what happened and to which message; nothing that people have written, and no credential.
 */

const VERSION = "0.1.0"; // of the package
const EVENTS = 200;
const CONNECTIONS = 20;
const LISTED = 20; // ids or streams of one event
const LONGEST = 200; // characters of one field
const FIELDS = [
  ...["ref", "id", "message_id", "client_message_id", "session_id", "user_id", "connection_id"],
  ...["stream", "epoch", "offset", "seq", "at", "before", "after", "limit", "term", "expected_term"],
  ...["status", "state", "recovered", "redelivered", "is_typing", "has_more", "unread", "total"],
  ...["expires_at", "reconnect_after_ms", "seen_offset", "reply_to"],
];
const ERROR_FIELDS = ["code", "temporary", "retry_after_ms", "field", "limit", "term", "expected"];

export class Recorder {
  #events = [];
  #connections = []; // {connection_id, opened_at, low, high, isOpen}; the last one is the current
  #now;

  /** @param {() => number} [now] milliseconds of the wall clock */
  constructor(now = () => Date.now()) {
    this.#now = now;
  }

  /** A command goes out. */
  sent(command, bytes) {
    this.#add("out", { type: text(command.type), ...picked(command), bytes });
  }

  /** A push or a reply has come. */
  received(push, bytes) {
    const at = this.#now();
    if (push.type === "connection_established") this.#opened(push, at);
    this.#compare(push, at);
    this.#add("in", { type: text(push.type), ...picked(push), bytes }, at);
  }

  /** Something that the client itself does or notices, such as `close`. */
  noted(type, detail = {}) {
    const { code, reason, delayMs } = detail;
    const more = { state: detail.state, code, reason: text(reason), delay_ms: rounded(delayMs) };
    this.#add("client", { type, ...more });
    if (type === "close" && this.#current) this.#current.isOpen = false;
  }

  /** The whole report: where the client stands, the clocks of both sides, the events from the oldest on. */
  report({ url, endpoint, sessionId }, state) {
    const connections = this.#connections.map(({ connection_id, opened_at, low, high }) => ({
      connection_id,
      opened_at: iso(opened_at),
      clock: clockOf(low, high),
    }));
    const events = this.#events.map(({ at, ...event }) => ({ at: iso(at), ...event }));
    return {
      kind: "wsserver-client-report",
      version: VERSION,
      made_at: iso(this.#now()),
      runtime: globalThis.navigator?.userAgent ?? null,
      url: String(url).replace(/[?#].*/, "").replace(/\/\/[^/]*@/, "//"),
      endpoint: sessionId ? "/ws/chat/session" : endpoint,
      ...state,
      connections,
      events,
    };
  }

  get #current() {
    return this.#connections.at(-1);
  }

  #opened({ connection_id: id }, at) {
    const connection = { connection_id: text(id), opened_at: at, low: null, high: null, isOpen: true };
    this.#connections.push(connection);
    if (this.#connections.length > CONNECTIONS) this.#connections.shift();
  }

  /**
   * The server's clock is ahead by no less than a push's time minus its arrival, and by no more than
   * the time in the answer to a command, or to the connect, minus that of asking.
   */
  #compare({ type, ref, timestamp, server_time: serverTime }, at) {
    const connection = this.#current;
    if (connection === undefined || !connection.isOpen) return;
    const told = Date.parse(serverTime ?? timestamp);
    if (Number.isNaN(told)) return;
    connection.low = Math.max(connection.low ?? -Infinity, told - at);
    const isQuestion = (event) =>
      type === "pong" ? event.type === "ping" && event.ref === ref : event.type === "connect";
    const asked = serverTime === undefined ? undefined : this.#events.findLast(isQuestion);
    if (asked) connection.high = Math.min(connection.high ?? Infinity, told - asked.at);
    // The clock was set meanwhile: what was known before is void.
    if (connection.high !== null && connection.low > connection.high) {
      Object.assign(connection, { low: told - at, high: asked ? told - asked.at : null });
    }
  }

  #add(dir, fields, at = this.#now()) {
    const connection = this.#current?.isOpen ? this.#current.connection_id : undefined;
    this.#events.push(withoutNothing({ at, dir, connection, ...fields }));
    if (this.#events.length > EVENTS) this.#events.shift();
  }
}

/** What of a command, push or reply may be recorded. */
function picked(message) {
  const { error, ids, messages, streams, notification } = message;
  return {
    ...simple(message, FIELDS),
    ...(error ? { error: simple(error, ERROR_FIELDS) } : {}),
    ...(Array.isArray(ids) ? listed(ids) : {}),
    ...(Array.isArray(messages) ? listed(messages.map((each) => each?.id)) : {}),
    ...(notification ? { notification_id: text(notification.id) } : {}),
    ...(streams ? { streams: Object.entries(streams).slice(0, LISTED).map(streamOf) } : {}),
  };
}

function streamOf([stream, position]) {
  const fields = simple(position ?? {}, ["epoch", "offset", "recovered", "reason"]);
  const messages = position?.messages;
  const ids = Array.isArray(messages) ? listed(messages.map((each) => each?.id)) : {};
  return { stream: text(stream), ...fields, ...ids };
}

function listed(ids) {
  return { count: ids.length, ids: ids.slice(0, LISTED).map(text) };
}

/** Those of the fields that are texts, numbers or booleans. */
function simple(from, names) {
  const found = {};
  for (const name of names) {
    const value = from[name];
    if (typeof value === "string") found[name] = text(value);
    else if (typeof value === "number" || typeof value === "boolean") found[name] = value;
  }
  return found;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, LONGEST) : undefined;
}

function withoutNothing(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function clockOf(low, high) {
  if (low === null) return null;
  if (high === null) return { offset_ms: rounded(low), error_ms: null };
  return { offset_ms: rounded((low + high) / 2), error_ms: rounded((high - low) / 2) };
}

function rounded(value) {
  return typeof value === "number" ? Math.round(value) : undefined;
}

function iso(at) {
  return new Date(at).toISOString();
}
