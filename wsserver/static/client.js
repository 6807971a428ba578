/**
 * Browser client of wsserver: an ES module with its parts in `client/`; nothing to build.
 *
 *   import { WsClient } from "/static/client.js";
 *
 *   const client = new WsClient({ tokenProvider: () => fetchMyToken() });
 *   client.addEventListener("new_message", ({ detail }) => show(detail.message));
 *   await client.connect();
 *   await client.join("s1");
 *   await client.sendMessage("s1", "Hello");
 *
 * Every push of the server is an event of its `type`, with the whole push as `detail`. The
 * client's own events have a colon in their name, which no push type has:
 *
 *   ws:state     {state}: "connecting", "open", "waiting" (to reconnect) or "closed"
 *   ws:open      the push `connection_established`, after every connect
 *   ws:close     {code, reason, willReconnect, delayMs}
 *   ws:push      every push, whatever its type
 *   ws:rejoined  {session_id, recovered, missed}: a session was joined again after a reconnect
 *   ws:lost      {session_id, error}: a session that could not be joined again
 *   ws:gap       {stream, session_id, reason}: not all that was missed can be given
 *   ws:error     {error}: something failed that no promise tells about
 *
 * Kept messages are handed on once and in the order of their stream: what was missed while there
 * was no connection comes before anything newer.
 */

import { WsError, disconnected } from "./client/errors.js";
import { Kept } from "./client/kept.js";
import { Outbox } from "./client/outbox.js";
import { pushKey, subscribeToPush } from "./client/push.js";

export { WsError };

const PROTOCOL = "wsserver.v1";
const RECONNECTING = new Set([1001, 1006, 1012, 1013]);
const TOKEN_INVALID = 4500;
/** The reason of `ws:close` when a provider has given null. */
export const NO_CREDENTIAL = "no credential";
const HEARTBEAT_TIMEOUT = 4001;
const STABLE_MS = 10_000; // a connection that lasted this long has earned a fresh backoff

/** Do the rules of the close codes allow coming back after this one? */
export function mayReconnect(code) {
  return RECONNECTING.has(code) || (code >= 4000 && code <= 4499);
}

export class WsClient extends EventTarget {
  #options;
  #state = "idle";
  #socket = null;
  #connection = null; // the latest connection_established; null while there is none
  #openedAt = 0;
  #attempt = 0; // reconnects since the last stable connection
  #run = 0; // counts connects; whatever belongs to an earlier one is stale
  #hintMs = null; // when the server said to come back
  #heardAt = 0;
  #watchdog = 0;
  #timer = 0;
  #nextRef = 1;
  #pending = new Map(); // ref -> {resolve, reject, timer}
  #sessions = new Set(); // joined, or to be joined again
  #kept;
  #outbox = new Outbox(
    (fields) => this.command("send_message", fields),
    (sessionId) => this.#state === "open" && !this.#kept.isCatchingUp(sessionId),
  );
  #ready = null; // {promise, resolve, reject} of connect()
  #onOnline = () => this.#state === "waiting" && this.#open();

  /**
   * @param {object} options
   * @param {string} [options.url] the server, as http(s) or ws(s); default: where the page is from
   * @param {string} [options.endpoint] default "/ws/chat"
   * @param {string} [options.sessionId] connect to this one session, bound to it
   * @param {string} [options.token]
   * @param {() => string|Promise<string>} [options.tokenProvider] asked at every connect, and
   *   when the token in use is about to expire
   * @param {() => string|Promise<string>} [options.ticketProvider] the same with one-use tickets.
   *   A provider that gives null has nothing more to offer: the client stays closed. One that
   *   throws is asked again later.
   * @param {"all"|"inbox"|"none"} [options.acknowledge] what is acknowledged once its handlers
   *   have run: the inbox and what others say in sessions, the inbox alone, or nothing by itself
   * @param {Storage} [options.storage] such as sessionStorage: keeps the positions across page loads
   */
  constructor(options = {}) {
    super();
    this.#options = {
      url: globalThis.location?.origin,
      endpoint: "/ws/chat",
      minDelayMs: 500,
      maxDelayMs: 30_000,
      commandTimeoutMs: 10_000,
      connectTimeoutMs: 15_000,
      receiptDelayMs: 250,
      acknowledge: "all",
      ...options,
    };
    this.#kept = new Kept(this.#options, {
      command: (type, fields) => this.command(type, fields),
      dispatch: (push) => this.#dispatch(push),
      emit: (name, detail) => this.#emit(name, detail),
      lost: (sessionId) => this.#sessions.delete(sessionId),
    });
  }

  get state() {
    return this.#state;
  }

  /** The push `connection_established` of the connection there is, or null. */
  get connection() {
    return this.#connection;
  }

  /** Ids of the sessions that this client has joined by `join`. */
  get sessions() {
    return [...this.#sessions];
  }

  /** Where each stream of kept messages was left: `{epoch, offset}` by the stream's name. */
  get positions() {
    return this.#kept.positions;
  }

  /** How many messages of `sendMessage` are not acknowledged yet. */
  get unsent() {
    return this.#outbox.size;
  }

  /** Connect and stay connected. Resolves at the first success, rejects if there is no hope. */
  connect() {
    if (this.#ready === null) {
      this.#ready = Promise.withResolvers?.() ?? withResolvers();
      this.#attempt = 0;
      globalThis.addEventListener?.("online", this.#onOnline);
      this.#open();
    }
    return this.#ready.promise;
  }

  /** Close for good. `connect` starts anew; sessions are forgotten, positions are not. */
  close(code = 1000, reason = "") {
    const socket = this.#socket;
    this.#kept.tellReceipts(); // without waiting: the server reads them before the close frame
    this.#sessions.clear();
    if (this.#ready !== null) {
      this.#end(code, reason);
    }
    socket?.close(code, reason);
  }

  /** Send a command; resolves with its reply, rejects with a `WsError`. */
  command(type, fields = {}) {
    if (this.#state !== "open") {
      return Promise.reject(disconnected());
    }
    const ref = this.#nextRef++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new WsError({ code: "timeout", message: `no reply to ${type}`, temporary: true }));
      }, this.#options.commandTimeoutMs);
      this.#pending.set(ref, { resolve, reject, timer });
      this.#send({ type, ref, ...fields });
    });
  }

  /**
   * Join a session, now and after every reconnect; resolves with `session_joined`. Its `messages`,
   * if the client had been there before, have come as events already.
   */
  async join(sessionId) {
    try {
      const reply = await this.#kept.join(sessionId);
      this.#sessions.add(sessionId);
      return reply;
    } finally {
      this.#outbox.flush();
    }
  }

  async leave(sessionId) {
    this.#sessions.delete(sessionId);
    const reply = await this.command("leave_session", { session_id: sessionId });
    this.#kept.forget(sessionId);
    return reply;
  }

  /**
   * Say something in a joined session; `content` is a string or an object. Resolves with the `ack`.
   *
   * While there is no connection it waits for one. It is sent with the same `clientMessageId` until
   * the server has acknowledged it, and appears once.
   */
  sendMessage(sessionId, content, { contentType, clientMessageId = randomId() } = {}) {
    if (this.#ready === null) return Promise.reject(disconnected());
    return this.#outbox.add({
      session_id: sessionId,
      content,
      client_message_id: clientMessageId,
      ...(contentType === undefined ? {} : { content_type: contentType }),
    });
  }

  /** Kept messages of a session: the last ones, those before an offset, or those after one. */
  history(sessionId, { before, after, limit } = {}) {
    return this.command("history", { session_id: sessionId, before, after, limit });
  }

  /** Acknowledge messages by id, where the client does not do so by itself. */
  acknowledge(ids) {
    this.#kept.received.add([ids].flat());
  }

  /** Say that the user has seen these messages; told soon, many together. */
  markRead(ids) {
    this.#kept.read.add([ids].flat());
  }

  typing(sessionId, isTyping = true) {
    return this.command("typing", { session_id: sessionId, is_typing: isTyping });
  }

  presence(sessionId) {
    return this.command("presence", { session_id: sessionId });
  }

  /** The key for `pushManager.subscribe`, as bytes; null: the server has no Web Push. */
  pushKey() {
    return pushKey(this.#options.url);
  }

  /**
   * Subscribe this browser to Web Push, by the registration of your service worker. Resolves with
   * what your backend enters into the user's contacts, or null: the server has no Web Push.
   */
  subscribeToPush(registration) {
    return subscribeToPush(this.#options.url, registration);
  }

  // Connecting

  async #open() {
    clearTimeout(this.#timer);
    const run = ++this.#run;
    this.#setState("connecting");
    let credential;
    try {
      credential = await this.#credential();
    } catch (error) {
      if (run === this.#run) this.#lost(1006, `no credential: ${error?.message ?? error}`);
      return;
    }
    if (run !== this.#run) return;
    if (credential === null) {
      this.#end(TOKEN_INVALID, NO_CREDENTIAL);
      return;
    }
    try {
      this.#socket = new WebSocket(this.#url(credential.query), credential.protocols);
    } catch (error) {
      // A token with characters that no header may carry, or an address that is none.
      this.#end(TOKEN_INVALID, error.message);
      return;
    }
    this.#listen(this.#socket);
    this.#watch(this.#options.connectTimeoutMs);
  }

  /** The one proof to offer, or null. */
  async #credential() {
    const { token, tokenProvider, ticketProvider } = this.#options;
    if (ticketProvider) {
      const ticket = await ticketProvider();
      const query = `?ticket=${encodeURIComponent(ticket)}`;
      return ticket ? { query, protocols: [PROTOCOL] } : null;
    }
    const current = tokenProvider ? await tokenProvider() : token;
    return current ? { query: "", protocols: [PROTOCOL, `bearer.${current}`] } : null;
  }

  #url(query) {
    const { url, endpoint, sessionId } = this.#options;
    const path = sessionId ? `/ws/chat/session/${encodeURIComponent(sessionId)}` : endpoint;
    return url.replace(/^http/, "ws").replace(/\/$/, "") + path + query;
  }

  #listen(socket) {
    const isCurrent = () => socket === this.#socket;
    socket.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    socket.onclose = ({ code, reason }) => isCurrent() && this.#lost(code, reason);
  }

  /** The server pings; when even that stays out, the network is gone and TCP has not noticed. */
  #watch(limitMs) {
    clearInterval(this.#watchdog);
    this.#heardAt = performance.now();
    this.#watchdog = setInterval(() => {
      if (performance.now() - this.#heardAt < limitMs) return;
      const socket = this.#socket;
      // Not waiting for onclose: the closing handshake of a dead connection takes minutes.
      this.#lost(HEARTBEAT_TIMEOUT, "nothing heard from the server");
      socket?.close();
    }, limitMs / 4);
  }

  #established(push) {
    this.#connection = push;
    this.#openedAt = performance.now();
    this.#hintMs = null;
    this.#watch(push.heartbeat_interval * 1500 + 2000);
    this.#kept.hold(push, this.#sessions); // before anything else arrives, or is said
    this.#setState("open");
    this.#kept.resume().then(() => this.#outbox.flush());
    this.#outbox.flush();
    this.#emit("ws:open", push);
    this.#ready?.resolve(push);
  }

  // Receiving

  #receive(text) {
    this.#heardAt = performance.now();
    const push = JSON.parse(text);
    const waiting = this.#pending.get(push.ref);
    if (waiting !== undefined) {
      this.#pending.delete(push.ref);
      clearTimeout(waiting.timer);
      if (push.type === "error") waiting.reject(new WsError(push.error));
      else waiting.resolve(push);
      return;
    }
    if (push.ref !== undefined) return; // the reply to a command that has timed out
    if (push.stream !== undefined) this.#kept.take(push);
    else this.#dispatch(push);
  }

  #dispatch(push) {
    WsClient.#reactions[push.type]?.(this, push);
    this.#emit("ws:push", push);
    this.#emit(push.type, push);
  }

  /** What the client itself does about a push, before anybody else hears of it. */
  static #reactions = {
    __proto__: null, // a push may well be called "constructor"
    connection_established: (client, push) => client.#established(push),
    ping: (client, push) => client.#send({ type: "pong", id: push.id }),
    server_draining: (client, push) => (client.#hintMs = push.reconnect_after_ms),
    token_expiring: (client) => client.#refresh(),
    session_joined: (client, push) => push.epoch !== undefined && client.#kept.bound(push),
    session_left: (client, push) => {
      // About ourselves: the server has put us out.
      if (push.user_id !== client.#connection?.user_id) return;
      client.#sessions.delete(push.session_id);
      client.#kept.forget(push.session_id);
    },
  };

  async #refresh() {
    const { tokenProvider } = this.#options;
    if (!tokenProvider) return; // the server closes with 4010, and a ticket brings us back
    try {
      const token = await tokenProvider();
      if (token) await this.command("refresh_token", { token });
    } catch (error) {
      this.#emit("ws:error", { error });
    }
  }

  // Closing

  /** The connection has gone: come back if the code allows it. */
  #lost(code, reason) {
    const hintMs = this.#hintMs ?? hintOf(reason);
    if (!mayReconnect(code)) {
      this.#end(code, reason);
      return;
    }
    if (this.#connection !== null && performance.now() - this.#openedAt > STABLE_MS) {
      this.#attempt = 0;
    }
    const delayMs = hintMs ?? this.#backoff(code);
    this.#attempt += 1;
    this.#cleanUp();
    this.#timer = setTimeout(() => this.#open(), delayMs);
    this.#setState("waiting");
    this.#emit("ws:close", { code, reason, willReconnect: true, delayMs });
  }

  /** Full jitter: anywhere from nothing to the limit, so that clients do not come back in step. */
  #backoff(code) {
    const { minDelayMs, maxDelayMs } = this.#options;
    // 1013 and 4029 ask for patience from the first time.
    const attempt = Math.max(this.#attempt, code === 1013 || code === 4029 ? 3 : 0);
    return Math.random() * Math.min(maxDelayMs, minDelayMs * 2 ** attempt);
  }

  #end(code, reason) {
    const ready = this.#ready;
    this.#ready = null;
    this.#cleanUp();
    this.#outbox.fail(disconnected());
    globalThis.removeEventListener?.("online", this.#onOnline);
    this.#setState("closed");
    this.#emit("ws:close", { code, reason, willReconnect: false, delayMs: null });
    ready?.promise.catch(() => {}); // who did not wait for connect() has ws:close
    ready?.reject(new WsError({ code: `closed_${code}`, message: reason || `closed: ${code}` }));
  }

  #cleanUp() {
    this.#run += 1;
    this.#socket = null;
    this.#connection = null;
    this.#hintMs = null;
    clearInterval(this.#watchdog);
    clearTimeout(this.#timer);
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(disconnected());
    }
    this.#pending.clear();
    this.#kept.disconnected();
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("ws:state", { state });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** The hint in the reason of a 1012, for who missed `server_draining`. */
function hintOf(reason) {
  const match = /reconnect_after_ms=(\d{1,6})/.exec(reason);
  return match ? Number(match[1]) : null;
}

/** 128 random bits; crypto.randomUUID is missing on plain http pages. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
