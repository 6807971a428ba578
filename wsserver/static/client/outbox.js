/**
 * Messages on their way to the server: each is sent with the same `client_message_id` until it is
 * acknowledged, so it arrives once however often it is sent. Within a session one goes after the
 * other, which keeps their order when one has to be sent again.
 */

import { DISCONNECTED, WsError, pauseAfter } from "./errors.js";

const LIMIT = 1000;

export class Outbox {
  #send; // (fields) => promise of the reply
  #maySend; // (session id) => boolean
  #lanes = new Map(); // session id -> [{fields, resolve, reject}]
  #busy = new Set();

  constructor(send, maySend) {
    this.#send = send;
    this.#maySend = maySend;
  }

  /** Messages that are not acknowledged. */
  get size() {
    return [...this.#lanes.values()].reduce((sum, lane) => sum + lane.length, 0);
  }

  /** Take a message; resolves with its `ack`, rejects when the server refuses it for good. */
  add(fields) {
    if (this.size >= LIMIT) {
      const message = `${LIMIT} messages wait already`;
      return Promise.reject(new WsError({ code: "outbox_full", message, temporary: true }));
    }
    return new Promise((resolve, reject) => {
      const id = fields.session_id;
      if (!this.#lanes.has(id)) this.#lanes.set(id, []);
      this.#lanes.get(id).push({ fields, resolve, reject });
      this.#drain(id);
    });
  }

  /** Send what waits; to be called whenever `maySend` may have changed. */
  flush() {
    for (const id of this.#lanes.keys()) this.#drain(id);
  }

  /** Let go of everything. */
  fail(error) {
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    for (const lane of lanes) for (const { reject } of lane.splice(0)) reject(error);
  }

  async #drain(id) {
    const lane = this.#lanes.get(id);
    if (this.#busy.has(lane)) return;
    this.#busy.add(lane);
    while (lane.length > 0 && this.#maySend(id)) {
      const entry = lane[0];
      try {
        entry.resolve(await this.#send(entry.fields));
      } catch (error) {
        if (error.code === DISCONNECTED) break; // `flush` comes with the next connection
        if (error.temporary) {
          await pauseAfter(error);
          continue;
        }
        entry.reject(error);
      }
      if (lane[0] === entry) lane.shift();
    }
    this.#busy.delete(lane);
    if (lane.length === 0 && this.#lanes.get(id) === lane) this.#lanes.delete(id);
  }
}
