/**
 * Messages on their way to the server: each is sent with the same `client_message_id` until it is
 * acknowledged, so it arrives once however often it is sent. Within a session one goes after the
 * other, which keeps their order when one has to be sent again. One that cannot be sent is rejected,
 * so that it does not hold up those behind it.
 */

import { DISCONNECTED, RATE_LIMITED, STALE_VIEW, TIMEOUT, WsError, delayAfter } from "./errors.js";

const LIMIT = 1000;
/** Without a reply so often over connections that were alive: something drops this very message. */
const TIMEOUTS = 5;
/** So many connections broken with this message under way: it may be what breaks them. */
const LOSSES = 10;
/** Under way at once: the server closes a connection after 100 refusals for rate within 10 s. */
const AT_ONCE = 8;
/** After such a refusal nothing is sent for this long, so that there is room for many again. */
const REST_MS = 1500;

export class Outbox {
  #send; // (fields) => promise of the reply
  #maySend; // (session id) => boolean
  #encode; // (fields) => text; throws for what can never be sent
  #lanes = new Map(); // session id -> {id, entries: [Entry], isBusy, timer}
  #underWay = 0;
  #rest = 0; // timer, while the server finds that too much is sent

  constructor(send, maySend, encode) {
    this.#send = send;
    this.#maySend = maySend;
    this.#encode = encode;
  }

  /** Messages that are not acknowledged. */
  get size() {
    let size = 0;
    for (const { entries } of this.#lanes.values()) size += entries.length;
    return size;
  }

  /** Take a message; resolves with its `ack`, rejects when it is refused for good. */
  add(fields) {
    return new Promise((resolve, reject) => {
      if (this.size >= LIMIT) {
        const message = `${LIMIT} messages wait already`;
        throw new WsError({ code: "outbox_full", message, temporary: true });
      }
      // As it is now: the page may go on changing the object while the message waits.
      const { type, ref, ...snapshot } = JSON.parse(this.#encode(fields));
      const id = fields.session_id;
      if (!this.#lanes.has(id)) this.#lanes.set(id, { id, entries: [], isBusy: false, timer: 0 });
      const lane = this.#lanes.get(id);
      const counts = { failures: 0, timeouts: 0, losses: 0 };
      lane.entries.push({ fields: snapshot, resolve, reject, ...counts });
      this.#drain(lane);
    });
  }

  /** Send what waits; to be called whenever `maySend` may have changed. */
  flush() {
    for (const lane of [...this.#lanes.values()]) this.#drain(lane);
  }

  /** Let go of everything. */
  fail(error) {
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    clearTimeout(this.#rest);
    this.#rest = 0;
    for (const lane of lanes) {
      clearTimeout(lane.timer);
      for (const { reject } of lane.entries.splice(0)) reject(error);
    }
  }

  async #drain(lane) {
    if (lane.isBusy || lane.timer !== 0) return;
    lane.isBusy = true;
    let hasSent = false;
    while (lane.entries.length > 0 && lane.timer === 0 && this.#hasRoom && this.#maySend(lane.id)) {
      const entry = lane.entries[0];
      hasSent = true;
      try {
        entry.resolve(await this.#sendOne(entry));
      } catch (error) {
        const isLost = error.code === DISCONNECTED;
        if (error.temporary && isWorthATry(entry, error.code)) {
          if (isLost) break; // `flush` comes with the next connection
          if (error.code === RATE_LIMITED) {
            this.#pause(delayAfter(error));
            break;
          }
          lane.timer = setTimeout(() => {
            lane.timer = 0;
            this.#drain(lane);
          }, delayAfter(error, entry.failures++));
          break;
        }
        entry.reject(error);
      }
      if (lane.entries[0] === entry) lane.entries.shift();
    }
    lane.isBusy = false;
    const isIdle = lane.entries.length === 0;
    if (isIdle && this.#lanes.get(lane.id) === lane) this.#lanes.delete(lane.id);
    if (hasSent && this.#hasRoom) this.#next(lane); // else no place has become free
  }

  get #hasRoom() {
    return this.#rest === 0 && this.#underWay < AT_ONCE;
  }

  async #sendOne(entry) {
    this.#underWay += 1;
    try {
      return await this.#send(entry.fields);
    } finally {
      this.#underWay -= 1;
    }
  }

  /** The rate is the connection's: a refusal for it is about all sessions. */
  #pause(delayMs) {
    if (this.#rest !== 0) return;
    const resume = () => {
      this.#rest = 0;
      this.flush();
    };
    this.#rest = setTimeout(resume, Math.max(delayMs, REST_MS));
  }

  /** A lane is through, or waits: another one may have waited for its place. */
  #next(done) {
    for (const lane of [...this.#lanes.values()]) if (lane !== done) this.#drain(lane);
  }
}

function isWorthATry(entry, code) {
  if (code === TIMEOUT) return ++entry.timeouts < TIMEOUTS;
  if (code === DISCONNECTED) return ++entry.losses < LOSSES;
  return code !== STALE_VIEW;
}
