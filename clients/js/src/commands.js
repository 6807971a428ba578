/** Commands on their way: numbers them, keeps to the server's size limit, finds their replies. */

import { TIMEOUT, WsError, disconnected } from "./errors.js";

export class Commands {
  #write; // (text, command) => void
  #timedOut; // () => void
  #timeoutMs;
  #nextRef = 1;
  #pending = new Map(); // ref -> {resolve, reject, timer}
  /** The server's `max_message_bytes`, once it has told; it closes the connection beyond. */
  limitBytes = Infinity;

  constructor(write, timedOut, timeoutMs) {
    this.#write = write;
    this.#timedOut = timedOut;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Send a command; resolves with its reply, rejects with a `WsError`.
   *
   * @param {string} type
   * @param {object} fields
   * @returns {Promise<any>}
   */
  send(type, fields) {
    const ref = this.#nextRef++;
    return new Promise((resolve, reject) => {
      const text = this.encode(type, fields, ref);
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new WsError({ code: TIMEOUT, message: `no reply to ${type}`, temporary: true }));
        this.#timedOut();
      }, this.#timeoutMs);
      this.#pending.set(ref, { resolve, reject, timer });
      this.#write(text, { ...fields, type, ref });
    });
  }

  /** The text of a command; throws a `WsError` for what can never be sent. */
  encode(type, fields, ref = Number.MAX_SAFE_INTEGER) {
    let text;
    try {
      // `type` and `ref` first, whatever the fields are called: so an error finds the way back.
      text = JSON.stringify(Object.assign({ type, ref }, fields, { type, ref }));
    } catch (error) {
      throw new WsError({ code: "bad_content", message: `${type} is no JSON: ${error.message}` });
    }
    const size = byteLength(text, this.limitBytes);
    if (size > this.limitBytes) {
      const message = `${type} of ${size} bytes; the server takes ${this.limitBytes} at most`;
      throw new WsError({ code: "message_too_big", message, limit: this.limitBytes });
    }
    return text;
  }

  /** Is this message of the server a reply? Then hand it to the command that it answers. */
  settle(message) {
    if (message.ref === undefined) return false;
    const waiting = this.#pending.get(message.ref);
    if (waiting === undefined) return true; // to a command that has timed out
    this.#pending.delete(message.ref);
    clearTimeout(waiting.timer);
    if (message.type !== "error") waiting.resolve(message);
    else waiting.reject(new WsError({ code: "error", message: "refused", ...message.error }));
    return true;
  }

  /** The connection is gone: no reply will come. */
  fail() {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject, timer } of pending) {
      clearTimeout(timer);
      reject(disconnected());
    }
  }
}

/** Bytes in UTF-8, which is what a frame holds; counted only where the limit may be near. */
function byteLength(text, limit) {
  return text.length * 3 <= limit ? text.length : new TextEncoder().encode(text).length;
}
