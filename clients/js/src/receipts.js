/** Receipts, many in one command, told until the server has taken them. */

import { DISCONNECTED, pauseAfter } from "./errors.js";

const AT_ONCE = 100;
const LIMIT = 10_000; // ids that may wait while there is no connection

export class Receipts {
  #send; // (ids) => promise
  #refused; // (error) => void: what the server will never take
  #delayMs;
  #waiting = new Set();
  #timer = 0;
  #isSending = false;
  #failures = 0;

  constructor(send, refused, delayMs) {
    this.#send = send;
    this.#refused = refused;
    this.#delayMs = delayMs;
  }

  add(ids) {
    this.#keep(ids);
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
    let isConnected = true;
    while (isConnected && this.#waiting.size > 0) {
      const ids = [...this.#waiting].slice(0, AT_ONCE);
      for (const id of ids) this.#waiting.delete(id);
      isConnected = await this.#tell(ids);
    }
    this.#isSending = false;
  }

  /** Another user is here. */
  clear() {
    this.#waiting.clear();
  }

  /** Tell these, or keep them; false: there is no connection. */
  async #tell(ids) {
    try {
      await this.#send(ids);
      this.#failures = 0;
      return true;
    } catch (error) {
      if (error.temporary) {
        this.#keep(ids);
        if (error.code === DISCONNECTED) return false;
        await pauseAfter(error, this.#failures++);
        return true;
      }
      if (ids.length === 1) {
        this.#refused(error);
        return true;
      }
    }
    // One that the server does not take has spoiled it for the others: look for it.
    const middle = Math.ceil(ids.length / 2);
    const first = await this.#tell(ids.slice(0, middle));
    return (await this.#tell(ids.slice(middle))) && first;
  }

  #keep(ids) {
    for (const id of ids) {
      this.#waiting.add(id);
      if (this.#waiting.size > LIMIT) this.#waiting.delete(this.#waiting.values().next().value);
    }
  }
}
