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
 *   ws:answer    {answer}: an answer that grows, with its `text`; see `Answer`
 *   ws:error     {error}: something failed that no promise tells about
 *
 * Kept messages are handed on once and in the order of their stream: what was missed while there
 * was no connection comes before anything newer.
 */

import { Answer, Answers } from "./answers.js";
import { Calls } from "./calls.js";
import { checkCode, cutReason, mayReconnect } from "./closing.js";
import { Commands } from "./commands.js";
import { Connector, NO_CREDENTIAL } from "./connector.js";
import { DISCONNECTED, WsError, disconnected } from "./errors.js";
import { Kept } from "./kept.js";
import { Outbox } from "./outbox.js";
import { Recorder } from "./recorder.js";
import { Renewal } from "./renewal.js";

export { Answer, NO_CREDENTIAL, WsError, mayReconnect };

/** Is this push of this type? */
export function isPush(push, type) {
  return push.type === type;
}

export class WsClient extends Calls {
  #options;
  #connector;
  #commands;
  #renewal;
  #kept;
  #outbox;
  #recorder = new Recorder();
  #answers = new Answers({
    emit: (name, detail) => this.#emit(name, detail),
    history: (sessionId, page) => this.history(sessionId, page),
  });
  #connection = null; // the latest connection_established; null while there is none
  #userId = null; // whose messages the outbox holds
  #sessions = new Map(); // session id -> {isJoined}; joined, or to be joined again
  #ready = null; // {promise, resolve, reject} of connect()

  /**
   * @param {object} options
   * @param {string} [options.url] the server, as http(s) or ws(s); default: where the page is from
   * @param {string} [options.endpoint] default "/ws/chat"
   * @param {string} [options.sessionId] connect to this one session, bound to it
   * @param {string} [options.token]
   * @param {() => string|null|Promise<string|null>} [options.tokenProvider] asked at every connect,
   *   and when the token in use is about to expire
   * @param {() => string|null|Promise<string|null>} [options.ticketProvider] the same with one-use
   *   tickets. A provider that gives null has nothing more to offer: the client stays closed. One
   *   that throws, hangs or gives what is no token is asked again later.
   * @param {boolean|string} [options.shareTabs] share one connection with the other tabs of the same
   *   user (default), where the browser can; a text names the user, where a ticket does not
   * @param {boolean} [options.fallback] use Server-Sent Events where no WebSocket gets through (default)
   * @param {number} [options.minDelayMs] limits of the time between reconnects
   * @param {number} [options.maxDelayMs]
   * @param {number} [options.commandTimeoutMs] how long to wait for a reply
   * @param {number} [options.connectTimeoutMs] how long to wait for a provider, and for a connection
   * @param {number} [options.receiptDelayMs] how long receipts wait for others
   * @param {"all"|"inbox"|"none"} [options.acknowledge] what is acknowledged once its handlers
   *   have run: the inbox and what others say in sessions, the inbox alone, or nothing by itself
   * @param {Storage} [options.storage] such as sessionStorage: keeps the positions across page loads
   * @param {typeof WebSocket} [options.WebSocket] where the runtime has none, as Node before 22
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
      shareTabs: true,
      fallback: true,
      WebSocket: globalThis.WebSocket,
      ...options,
    };
    this.#connector = new Connector(this.#options, {
      state: (state) => {
        this.#recorder.noted("state", { state });
        this.#emit("ws:state", { state });
      },
      note: (what) => this.#recorder.noted(what),
      message: (data) => this.#receive(data),
      ping: () => this.command("ping"),
      gone: () => this.#gone(),
      closed: (detail) => {
        this.#recorder.noted("close", detail);
        this.#emit("ws:close", detail);
      },
      ended: (error, tell) => this.#ended(error, tell),
    });
    this.#commands = new Commands(
      (text, command) => {
        this.#recorder.sent(command, text.length);
        this.#connector.send(text);
      },
      () => this.#connector.check(),
      this.#options.commandTimeoutMs,
    );
    this.#renewal = new Renewal(
      () => this.#connector.credentials.token(),
      (token) => this.command("refresh_token", { token }),
      (error) => this.#emit("ws:error", { error }),
    );
    this.#kept = new Kept(this.#options, {
      command: (type, fields) => this.command(type, fields),
      dispatch: (push) => this.#dispatch(push),
      emit: (name, detail) => this.#emit(name, detail),
      lost: (sessionId) => this.#sessions.delete(sessionId),
      answers: this.#answers,
    });
    this.#outbox = new Outbox(
      (fields) => this.command("send_message", fields),
      (sessionId) => this.state === "open" && !this.#kept.isCatchingUp(sessionId),
      (fields) => this.#commands.encode("send_message", fields),
    );
  }

  /** @returns {import("./connector.js").State} */
  get state() {
    return this.#connector.state;
  }

  /** The push `connection_established` of the connection there is, or null. */
  get connection() {
    return this.#connection;
  }

  /** Ids of the sessions that this client has joined by `join`. */
  get sessions() {
    return [...this.#sessions].filter(([, { isJoined }]) => isJoined).map(([id]) => id);
  }

  /** Where each stream of kept messages was left: `{epoch, offset}` by the stream's name. */
  get positions() {
    return this.#kept.positions;
  }

  /** How many messages of `sendMessage` are not acknowledged yet. */
  get unsent() {
    return this.#outbox.size;
  }

  /** The answers that grow in the sessions that were joined. */
  get answers() {
    return this.#answers.all;
  }

  /**
   * An answer that grows, by the id of its message; undefined: there is none, or it has ended.
   *
   * @param {string} messageId
   */
  answer(messageId) {
    return this.#answers.get(messageId);
  }

  /** @inheritdoc */
  async history(sessionId, page) {
    const reply = await super.history(sessionId, page);
    for (const push of reply.messages) this.#answers.seen(push);
    return reply;
  }

  /** Connect and stay connected. Resolves at the first success, rejects if there is no hope. */
  connect() {
    if (this.#ready !== null) return this.#ready.promise;
    const { promise } = (this.#ready = withResolvers());
    promise.catch(() => {}); // who does not wait for it has ws:close
    this.#connector.start();
    return promise;
  }

  /**
   * Close for good. `connect` starts anew; sessions are forgotten, positions are not.
   *
   * @param {number} [code] 1000, or 3000 to 4999
   * @param {string} [reason] cut to 123 bytes
   */
  close(code = 1000, reason = "") {
    checkCode(code);
    this.#kept.tellReceipts(); // without waiting: the server reads them before the close frame
    this.#sessions.clear();
    if (this.#ready !== null) this.#connector.stop(code, cutReason(String(reason)));
  }

  /**
   * Send a command; resolves with its reply, rejects with a `WsError`.
   *
   * @param {string} type
   * @param {object} [fields]
   * @returns {Promise<any>}
   */
  command(type, fields = {}) {
    if (this.state !== "open") {
      return Promise.reject(disconnected());
    }
    return this.#commands.send(type, fields);
  }

  /**
   * Join a session, now and after every reconnect; resolves with `session_joined`. Its `messages`,
   * if the client had been there before, have come as events already.
   *
   * @param {string} sessionId
   */
  async join(sessionId) {
    const before = this.#sessions.get(sessionId);
    const wish = { isJoined: before?.isJoined ?? false };
    const isWanted = () => this.#sessions.get(sessionId) === wish; // not left again meanwhile
    this.#sessions.set(sessionId, wish);
    try {
      const reply = await this.#kept.join(sessionId);
      wish.isJoined = true;
      return reply;
    } catch (error) {
      if (isWanted() && before) this.#sessions.set(sessionId, before);
      else if (isWanted()) this.#sessions.delete(sessionId);
      throw error;
    } finally {
      this.#outbox.flush();
    }
  }

  /**
   * Leave a session, whatever is under way for it. Without a connection it is left already.
   *
   * @param {string} sessionId
   */
  async leave(sessionId) {
    this.#sessions.delete(sessionId);
    this.#kept.leaving(sessionId);
    let reply = { type: "session_left", session_id: sessionId, user_id: this.#userId };
    try {
      reply = await this.command("leave_session", { session_id: sessionId });
    } catch (error) {
      if (error.code !== DISCONNECTED) throw error;
    }
    if (!this.#sessions.has(sessionId)) this.#kept.forget(sessionId);
    return reply;
  }

  /**
   * Say something in a joined session. Resolves with the `ack`.
   *
   * While there is no connection it waits for one. It is sent with the same `clientMessageId` until
   * the server has acknowledged it, and appears once.
   *
   * @param {string} sessionId
   * @param {string | object} content
   * @param {{contentType?: string, clientMessageId?: string, replyTo?: string, seenOffset?: number}} [options]
   *   `seenOffset`: refuse it with `stale_view` if others have written after that offset
   */
  sendMessage(sessionId, content, options = {}) {
    const { contentType, clientMessageId = randomId(), replyTo, seenOffset } = options;
    if (this.#ready === null) return Promise.reject(disconnected());
    return this.#outbox.add({
      session_id: sessionId,
      content,
      client_message_id: clientMessageId,
      content_type: contentType,
      reply_to: replyTo,
      seen_offset: seenOffset,
    });
  }

  /**
   * Acknowledge messages by id, where the client does not do so by itself.
   *
   * @param {string | string[]} ids
   */
  acknowledge(ids) {
    this.#kept.received.add([ids].flat());
  }

  /**
   * Say that the user has read a session up to an offset; or, by ids, that the user has seen messages,
   * such as notifications. Told soon, many together.
   *
   * @param {string | string[]} what id of a session, or ids of messages
   * @param {number} [offset] of the session
   */
  markRead(what, offset) {
    if (offset !== undefined) this.#kept.marks.add(what, offset);
    else this.#kept.read.add([what].flat());
  }

  /**
   * Upload a file and say it in a session. What breaks off goes on by itself.
   *
   * @param {string} sessionId
   * @param {File | Blob} file
   * @param {{filename?: string, contentType?: string}} [options]
   * @returns {Promise<import("./files.js").Upload>} with `progress`, `pause`, `resume`, `cancel`, `done`
   */
  async sendFile(sessionId, file, options) {
    const { sendFile } = await import("./files.js");
    return sendFile(this, this.#fileAccess, sessionId, file, options);
  }

  /** An address of a file that needs no token for ten minutes. */
  async fileUrl(fileId) {
    return (await import("./files.js")).fileUrl(this.#fileAccess, fileId);
  }

  get #fileAccess() {
    const { url, storage } = this.#options;
    return { url, storage, token: () => this.#connector.credentials.bearer() };
  }

  /** The key for `pushManager.subscribe`, as bytes; null: the server has no Web Push. */
  async pushKey() {
    return (await import("./push.js")).pushKey(this.#options.url);
  }

  /**
   * Subscribe this browser to Web Push, by the registration of your service worker. Resolves with
   * what your backend enters into the user's contacts, or null: the server has no Web Push.
   */
  async subscribeToPush(registration) {
    return (await import("./push.js")).subscribeToPush(this.#options.url, registration);
  }

  /**
   * What happened lately, as an object for support: the last 200 protocol events and the state of the
   * client, without contents, names or credentials. `wsctl trace MESSAGE_ID --with FILE` reads it.
   */
  report() {
    return this.#recorder.report(this.#options, {
      state: this.state,
      user_id: this.#userId,
      connection_id: this.#connection?.connection_id ?? null,
      unsent: this.unsent,
      sessions: this.sessions,
      positions: this.positions,
    });
  }

  // Receiving

  #receive(data) {
    let push;
    try {
      push = JSON.parse(data);
      if (typeof push?.type !== "string") throw new TypeError("no type");
    } catch {
      const error = new WsError({ code: "bad_push", message: "the server sent what is no push" });
      this.#emit("ws:error", { error });
      return;
    }
    this.#recorder.received(push, data.length);
    if (this.#commands.settle(push)) return;
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
    ping: (client, push) => client.#connector.send(JSON.stringify({ type: "pong", id: push.id })),
    server_draining: (client, push) => client.#connector.hint(push.reconnect_after_ms),
    token_expiring: (client) => client.#connector.credentials.hasTokens && client.#renewal.due(),
    new_message: (client, push) => client.#answers.seen(push),
    answer_appended: (client, push) => client.#answers.appended(push),
    answer_ended: (client, push) => client.#answers.ended(push),
    message_deleted: (client, push) => client.#answers.ended(push),
    session_joined: (client, push) => push.epoch !== undefined && client.#kept.bound(push),
    session_left: (client, push) => {
      // About ourselves: the server has put us out.
      if (push.user_id !== client.#connection?.user_id) return;
      client.#sessions.delete(push.session_id);
      client.#kept.forget(push.session_id);
    },
  };

  #established(push) {
    this.#connection = push;
    this.#commands.limitBytes = push.max_message_bytes ?? Infinity;
    this.#connector.established(push);
    if (this.#userId !== null && this.#userId !== push.user_id) {
      // What one user has written must not be said by another.
      const message = "another user has signed in";
      this.#outbox.fail(new WsError({ code: "user_changed", message }));
    }
    this.#userId = push.user_id;
    this.#kept.hold(push, this.sessions); // before anything else arrives, or is said
    this.#connector.opened();
    this.#kept
      .resume()
      .catch((error) => this.#emit("ws:error", { error }))
      .then(() => this.#outbox.flush());
    this.#outbox.flush();
    this.#emit("ws:open", push);
    this.#ready?.resolve(push);
  }

  // Closing

  /** The connection is gone; there may be another one. */
  #gone() {
    this.#connection = null;
    this.#renewal.stop();
    this.#commands.fail();
    this.#kept.disconnected();
  }

  /** There will be no other one. */
  #ended(error, tell) {
    const ready = this.#ready;
    this.#ready = null;
    this.#outbox.fail(disconnected());
    tell();
    ready?.reject(error);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
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
