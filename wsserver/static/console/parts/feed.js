/** The monitor socket: statistics and events as they happen, for those who may monitor. */

import { post } from "./api.js";

const ALWAYS = ["alert_*"];
const AGAIN_MS = 3000; // after the client could not be loaded

/**
 * Events: `stats` (the push `stats_update`), `event` (one event), `push` (any other push), `state`.
 */
export class Feed extends EventTarget {
  #client = null;
  #failures = 0; // of loading the client
  #timer = 0;
  #wanted = { events: ALWAYS, interval_s: 5 };

  /** `idle`, `connecting`, `open`, `waiting` or `closed`, as of the client. */
  state = "idle";
  /** Why there is no connection; empty while there is one. */
  reason = "";

  async start() {
    this.stop();
    this.#setState("connecting");
    let WsClient;
    try {
      // The page does not wait for it. Browsers remember a module that failed by its address.
      ({ WsClient } = await import(`../../client.js${this.#failures ? `?${this.#failures}` : ""}`));
    } catch (error) {
      this.reason = error.message;
      this.#failures += 1;
      this.#setState("waiting");
      this.#timer = setTimeout(() => this.start(), AGAIN_MS);
      return;
    }
    const client = new WsClient({
      endpoint: "/ws/admin/monitor",
      ticketProvider: async () => (await post("/tickets")).ticket,
      acknowledge: "none",
      shareTabs: false,
    });
    this.#client = client;
    client.addEventListener("ws:state", ({ detail }) => this.#setState(detail.state));
    client.addEventListener("ws:open", () => {
      this.reason = "";
      this.#subscribe();
    });
    client.addEventListener("ws:close", ({ detail }) => {
      this.reason = `${detail.code} ${detail.reason}`.trim();
    });
    client.addEventListener("ws:push", ({ detail }) => this.#onPush(detail));
    client.connect().catch(() => {}); // the state tells
  }

  stop() {
    clearTimeout(this.#timer);
    this.#client?.close();
    this.#client = null;
  }

  /** What a page wants from now on; without arguments: only what every page needs. */
  want({ events = [], intervalS = 5 } = {}) {
    this.#wanted = { events: [...new Set([...ALWAYS, ...events])], interval_s: intervalS };
    if (this.state === "open") this.#subscribe();
  }

  /** Listen until the signal is aborted. */
  on(name, handle, signal) {
    this.addEventListener(name, ({ detail }) => handle(detail), { signal });
  }

  #subscribe() {
    this.#client?.command("subscribe", { args: this.#wanted }).catch((error) => {
      this.reason = error.message;
    });
  }

  #setState(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  #onPush(push) {
    const name = push.type === "stats_update" ? "stats" : push.type === "event" ? "event" : "push";
    this.dispatchEvent(new CustomEvent(name, { detail: name === "event" ? push.event : push }));
  }
}
