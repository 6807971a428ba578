/** Read positions of this user, told soon, of each session the latest one, until the server has taken it. */

import { DISCONNECTED, pauseAfter } from "./errors.js";

const UNKNOWN = "unknown_type";

export class ReadMarks {
  #send; // (session id, offset) => promise
  #refused; // (error) => void: what the server will never take
  #delayMs;
  #waiting = new Map(); // session id -> offset
  #told = new Map(); // session id -> offset that the server has taken
  #timer = 0;
  #isSending = false;
  #failures = 0;

  constructor(send, refused, delayMs) {
    this.#send = send;
    this.#refused = refused;
    this.#delayMs = delayMs;
  }

  add(sessionId, offset) {
    const known = Math.max(this.#waiting.get(sessionId) ?? 0, this.#told.get(sessionId) ?? 0);
    if (!(offset > known)) return;
    this.#waiting.set(sessionId, offset);
    if (this.#timer === 0) this.#timer = setTimeout(() => this.flush(), this.#delayMs);
  }

  /** Another numbering may have begun, or another user. */
  forget(sessionId) {
    this.#told.delete(sessionId);
  }

  /** Tell what waits. Without a connection it goes on waiting; call again when there is one. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#waiting.size > 0) {
      const [[sessionId, offset]] = this.#waiting;
      this.#waiting.delete(sessionId);
      try {
        await this.#send(sessionId, offset);
        this.#told.set(sessionId, offset);
        this.#failures = 0;
      } catch (error) {
        if (error.code === UNKNOWN) this.#told.set(sessionId, Infinity); // a server without positions
        else if (!error.temporary) this.#refused(error);
        if (!error.temporary) continue;
        if (!this.#waiting.has(sessionId)) this.#waiting.set(sessionId, offset);
        if (error.code === DISCONNECTED) break;
        await pauseAfter(error, this.#failures++);
      }
    }
    this.#isSending = false;
  }

  clear() {
    this.#waiting.clear();
    this.#told.clear();
  }
}
