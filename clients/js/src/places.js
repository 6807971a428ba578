/** Tells clients of the same browser that were refused, as a user has too many connections, of room. */

export class Places {
  #channel = null;

  constructor(address, freed) {
    if (globalThis.document === undefined || !globalThis.BroadcastChannel) return;
    try {
      this.#channel = new BroadcastChannel(`wsserver:places:${address}`);
    } catch {
      return; // the browser keeps site data from this page
    }
    this.#channel.onmessage = () => freed();
    this.#leave = () => this.left();
    globalThis.addEventListener("pagehide", this.#leave);
  }

  #leave = () => {};

  /** A connection of this client has gone. */
  left() {
    this.#channel?.postMessage(null);
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
    globalThis.removeEventListener?.("pagehide", this.#leave);
  }
}
