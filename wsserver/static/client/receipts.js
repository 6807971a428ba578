/** Receipts, many in one command, told until the server has taken them. */

import { DISCONNECTED, pauseAfter } from "./errors.js";

const AT_ONCE = 100;
const LIMIT = 10_000; // ids that may wait while there is no connection

export class Receipts {
  #send; // (ids) => promise
  #delayMs;
  #waiting = new Set();
  #timer = 0;
  #isSending = false;

  constructor(send, delayMs) {
    this.#send = send;
    this.#delayMs = delayMs;
  }

  add(ids) {
    for (const id of ids) {
      this.#waiting.add(id);
      if (this.#waiting.size > LIMIT) this.#waiting.delete(this.#waiting.values().next().value);
    }
    if (this.#waiting.size >= AT_ONCE) this.flush();
    else if (this.#waiting.size > 0 && this.#timer === 0) {
      this.#timer = setTimeout(() => this.flush(), this.#delayMs);
    }
  }

  /** Tell what waits. Without a connection it goes on waiting; call again when there is one. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#waiting.size > 0) {
      const ids = [...this.#waiting].slice(0, AT_ONCE);
      for (const id of ids) this.#waiting.delete(id);
      try {
        await this.#send(ids);
      } catch (error) {
        // What the server refuses for good, it refuses again.
        if (error.temporary) for (const id of ids) this.#waiting.add(id);
        if (error.code === DISCONNECTED) break;
        await pauseAfter(error);
      }
    }
    this.#isSending = false;
  }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#waiting.clear();
  }
}
