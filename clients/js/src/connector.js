/** Keeps one WebSocket, or what stands for it: opens it, notices its end, and opens the next one when that may help. */

import {
  BAD_REQUEST,
  CONNECTION_LIMIT,
  backoffMs,
  hintOf,
  isEvicted,
  isPatient,
  limited,
  mayReconnect,
} from "./closing.js";
import { Credentials } from "./credentials.js";
import { WsError } from "./errors.js";
import { Liveness } from "./liveness.js";
import { Places } from "./places.js";
import { onWakeup } from "./wakeups.js";

/** The reason of the end when a provider has given null. */
export const NO_CREDENTIAL = "no credential";
const NO_WEBSOCKET =
  "this runtime has no WebSocket: pass a class as the option WebSocket, or use Node 22 or later";
const ABNORMAL = 1006;
const HEARTBEAT_TIMEOUT = 4001;
const TOKEN_INVALID = 4500;
const INTERNAL_ERROR = 1011;
const SHARED_ENDPOINT = "/ws/chat"; // others are bound to one session, or subscribe to something
const ROOM_MS = 250; // until the server has noticed that a connection is gone
const OPEN = 1; // WebSocket.readyState
const REFUSALS = 5; // credentials of a provider, refused one after the other
const HEARTBEAT_S = 30; // of a server that does not tell
const STABLE_MS = 10_000; // a connection that lasted this long has earned a fresh backoff
const FAILURES = 2; // of WebSockets, before any that opened, until event streams are tried
/** Codes of a connection that did not come about: the network, a proxy, or no answer at all. */
const NETWORK = new Set([ABNORMAL, 1005, 1014, 1015, HEARTBEAT_TIMEOUT]);
const IMPATIENT_MS = 3000; // an attempt older than this is given up when the network changes

/** @typedef {"idle"|"connecting"|"open"|"waiting"|"closed"} State */

export class Connector {
  #options;
  #owner; // {state(state), message(text), gone(), closed(detail), ended(error), ping(), note(what)}
  #credentials;
  #liveness;
  /** @type {State} */
  #state = "idle";
  #socket = null;
  #isIn = false; // connection_established has come on this socket
  #wasIn = false; // on any since `start`
  #openedAt = 0;
  #attempt = 0; // reconnects since the last stable connection
  #attemptedAt = 0;
  #failures = 0; // connections that did not come about, while no WebSocket ever has
  #hadWebSocket = false;
  #refusals = 0; // credentials refused since the last connection
  #run = 0; // counts attempts; whatever belongs to an earlier one is stale
  #hintMs = null; // when the server said to come back
  #isRefused = false; // the user has too many connections
  #isPatient = false; // the server asked for the wait: no wake-up shortens it
  #timer = 0;
  /** @type {import("./tabs.js").Tab | null} */
  #tab = null; // this client among those of other tabs, where they share a connection
  #places; // tells clients that were refused that there is room
  #stopListening = () => {};

  constructor(options, owner) {
    this.#options = options;
    this.#owner = owner;
    this.#credentials = new Credentials(options);
    this.#liveness = new Liveness(
      () => owner.ping(),
      () => this.#socket?.readyState === OPEN,
      (reason) => this.#giveUp(HEARTBEAT_TIMEOUT, reason),
    );
  }

  get state() {
    return this.#state;
  }

  get credentials() {
    return this.#credentials;
  }

  /** Connect and stay connected, until `stop` or the end. */
  start() {
    this.#attempt = 0;
    this.#refusals = 0;
    this.#wasIn = false;
    const stopWaking = onWakeup(() => this.#wake());
    this.#places = new Places(this.#address(), () => this.#freed());
    this.#stopListening = () => {
      stopWaking();
      this.#places.close();
    };
    this.#open();
  }

  /** Close for good; `closed` and `ended` are emitted before the socket is closed. */
  stop(code, reason) {
    const socket = this.#socket;
    const tab = this.#tab;
    this.#tab = null;
    this.#end(code, reason);
    if (tab) tab.leave(code, reason);
    else socket?.close(code, reason);
  }

  /** What is sent while the socket closes is lost anyway; browsers log each such call as an error. */
  send(text) {
    if (this.#socket.readyState > OPEN) return;
    this.#socket.send(text);
  }

  /** The server has let this connection in. */
  established({ heartbeat_interval: interval, channel }) {
    this.#isIn = this.#wasIn = true;
    if (channel) this.#failures = FAILURES;
    else this.#hadWebSocket = true;
    this.#refusals = 0;
    this.#hintMs = null;
    this.#openedAt = performance.now();
    this.#liveness.start((interval > 0 ? interval : HEARTBEAT_S) * 1500 + 2000, true);
  }

  /** To be told once the owner has done what comes before everything else. */
  opened() {
    this.#setState("open");
  }

  /** The server has said when to come back. */
  hint(delayMs) {
    this.#hintMs = limited(delayMs);
  }

  /** Something makes the connection suspicious: see whether the server still answers. */
  check() {
    this.#liveness.check();
  }

  async #open() {
    clearTimeout(this.#timer);
    const run = ++this.#run;
    this.#attemptedAt = performance.now();
    this.#setState("connecting");
    if (this.#options.WebSocket === undefined) {
      this.#end(ABNORMAL, NO_WEBSOCKET, "no_websocket");
      return;
    }
    const sharing = this.#sharing(); // loads while the provider is asked
    let credential;
    try {
      credential = await this.#credentials.next();
    } catch (error) {
      if (run !== this.#run) return;
      if (error.temporary) this.#lost(ABNORMAL, `no credential: ${error.message}`);
      else this.#end(TOKEN_INVALID, error.message);
      return;
    }
    if (run !== this.#run) return;
    if (credential === null) {
      this.#end(TOKEN_INVALID, NO_CREDENTIAL);
      return;
    }
    const address = this.#address();
    const events = await this.#events();
    if (run !== this.#run) return;
    const connect = () =>
      events === null
        ? new this.#options.WebSocket(address + credential.query, credential.protocols)
        : new events.EventSocket(address, credential, {
            ...this.#options,
            onBetter: () => (this.#failures = 0),
          });
    const tabs = await sharing;
    if (run !== this.#run) return;
    const tab = await this.#among(tabs, address, credential);
    if (run !== this.#run) return;
    this.#owner.note(events === null ? "connect" : "connect by events");
    try {
      this.#listen(tab ? tab.open(connect) : connect());
    } catch (error) {
      // Not the browser's own text: it quotes what it does not like, be it the ticket.
      this.#end(BAD_REQUEST, `no WebSocket to ${address}: ${error.name}`, "bad_url");
      return;
    }
    this.#liveness.start(this.#options.connectTimeoutMs, false);
  }

  /**
   * The module of event streams; null: a WebSocket is to be tried. Both take turns while neither gets
   * through, as the server may just be away.
   */
  async #events() {
    const { fallback, sessionId, endpoint } = this.#options;
    const isPossible = fallback && !this.#hadWebSocket && (sessionId || endpoint === SHARED_ENDPOINT);
    if (!isPossible || this.#failures < FAILURES || this.#failures % 2 === 1) return null;
    return import("./sse.js").catch(() => null);
  }

  /** The module by which tabs share a connection; null: this client is to have one of its own. */
  async #sharing() {
    const { shareTabs, sessionId, endpoint, connectTimeoutMs } = this.#options;
    if (!shareTabs || sessionId || endpoint !== SHARED_ENDPOINT || !canShare()) return null;
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, connectTimeoutMs, null)));
    // Without it, as while the network is away, this attempt goes on with a connection of its own.
    const tabs = await Promise.race([import("./tabs.js").catch(() => null), late]);
    clearTimeout(timer);
    return tabs;
  }

  /** This client among the tabs with which it shares a connection; null: it has one of its own. */
  async #among(tabs, address, { token }) {
    const { shareTabs } = this.#options;
    const user = typeof shareTabs === "string" ? shareTabs : null;
    const run = this.#run;
    if (tabs === null || (token === null && user === null)) {
      this.#leaveTabs();
      return null;
    }
    const name = await tabs.shareName(address, token, user);
    if (run !== this.#run) return null;
    if (this.#tab?.name !== name || this.#tab.hasLeft) {
      this.#leaveTabs();
      if (name !== null) this.#tab = new tabs.Tab(name, () => this.#wake());
    }
    return this.#tab;
  }

  #leaveTabs() {
    this.#tab?.leave();
    this.#tab = null;
  }

  #address() {
    const { url, endpoint, sessionId } = this.#options;
    const path = sessionId ? `/ws/chat/session/${encodeURIComponent(sessionId)}` : endpoint;
    return String(url).replace(/^http/, "ws").replace(/\/$/, "") + path;
  }

  #listen(socket) {
    this.#socket = socket;
    const isCurrent = () => socket === this.#socket;
    socket.onmessage = ({ data }) => {
      if (!isCurrent()) return;
      this.#liveness.heard();
      this.#owner.message(data);
    };
    socket.onclose = ({ code, reason }) => isCurrent() && this.#lost(code, reason);
    socket.onerror = () => {}; // onclose follows; a class for Node may throw what nobody hears
  }

  /** The network may be another one, or the page has slept. */
  #wake() {
    this.#owner.note("wakeup");
    if (this.#state === "open") this.#liveness.check();
    else if (this.#state === "waiting" && !this.#isPatient) this.#open();
    else if (this.#state === "connecting" && this.#age() > IMPATIENT_MS) {
      const socket = this.#socket;
      this.#drop();
      socket?.close();
      this.#open();
    }
  }

  /** Another connection has gone: there may be room for this one. */
  #freed() {
    if (this.#state !== "waiting" || !this.#isRefused) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ROOM_MS * (1 + Math.random()));
  }

  #age() {
    return performance.now() - this.#attemptedAt;
  }

  /** Not waiting for onclose: the closing handshake of a dead connection takes minutes. */
  #giveUp(code, reason) {
    const socket = this.#socket;
    this.#lost(code, reason);
    socket?.close();
  }

  /** The connection has gone: come back if the code allows it. */
  #lost(code, reason) {
    if (this.#socket && !this.#isIn && NETWORK.has(code)) this.#failures += 1;
    if (!this.#mayReturn(code)) {
      this.#end(code, reason);
      return;
    }
    if (this.#isIn && performance.now() - this.#openedAt > STABLE_MS) this.#attempt = 0;
    const hintMs = this.#hintMs ?? hintOf(reason);
    const isOut = isEvicted(code, reason);
    const delayMs = isOut ? null : (hintMs ?? backoffMs(code, this.#attempt, this.#options));
    this.#isPatient = !isOut && (hintMs !== null || isPatient(code));
    this.#isRefused = code === CONNECTION_LIMIT;
    this.#attempt += 1;
    this.#drop();
    if (delayMs !== null) this.#timer = setTimeout(() => this.#open(), delayMs);
    this.#setState("waiting");
    this.#owner.closed({ code, reason, willReconnect: true, delayMs });
  }

  #mayReturn(code) {
    if (mayReconnect(code) || code === CONNECTION_LIMIT) return true;
    if (!this.#wasIn) return false;
    if (code === TOKEN_INVALID && !this.#isIn && this.#credentials.isRenewable) {
      // From a cache, say, and expired while the machine slept: the next one may be better.
      this.#refusals += 1;
      return this.#refusals <= REFUSALS;
    }
    return code === INTERNAL_ERROR; // which passes
  }

  #end(code, reason, problem = `closed_${code}`) {
    this.#drop();
    this.#stopListening();
    this.#leaveTabs();
    const error = new WsError({ code: problem, message: reason || `closed: ${code}` });
    this.#owner.ended(error, () => {
      this.#setState("closed");
      this.#owner.closed({ code, reason, willReconnect: false, delayMs: null });
    });
  }

  /** Forget this connection, or the attempt. */
  #drop() {
    this.#run += 1;
    this.#socket = null;
    if (this.#isIn) this.#places.left();
    this.#isIn = false;
    this.#hintMs = null;
    this.#liveness.stop();
    clearTimeout(this.#timer);
    this.#owner.gone();
  }

  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#owner.state(state);
  }
}

/** Can tabs share a connection here? */
function canShare() {
  return Boolean(
    globalThis.isSecureContext && globalThis.navigator?.locks && globalThis.BroadcastChannel,
  );
}
