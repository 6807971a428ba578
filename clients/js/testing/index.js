/**
 * A server in memory for unit tests: real clients talk to it without a network.
 *
 *   import { FakeServer } from "@wsserver/client/testing";
 *
 *   const server = new FakeServer();
 *   const client = server.client("alice");
 *   await client.connect();
 *   await client.join("s1");
 *   server.say("s1", "Hello", { from: "bob" });
 *   await server.idle();
 *
 * It numbers and keeps messages, resumes, and answers every command of the chat endpoint as the
 * server does, as far as one client can tell. It has no permissions, limits or times of its own.
 */

import { WsClient } from "../src/index.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;
const SESSION = "session:";
const INBOX = "user:";
const EPOCH = "epoch_1";
const HISTORY = 50;
const TURNS = 50; // of the microtask queue, in which everything happens

export class FakeServer {
  /** Every command that has come, in order: `{user_id, type, …}`. */
  commands = [];
  #connections = new Set();
  #streams = new Map(); // name -> pushes
  #dedup = new Map(); // "user/client_message_id" -> ack
  #pending = new Map(); // user -> Map of id -> push: not acknowledged
  #answers = new Map(); // command type -> (command) => reply
  #refusal = null; // {code, reason} of the handshake
  #isUp = true;
  #ids = 0;
  #now;

  /** @param {{now?: () => Date}} [options] */
  constructor({ now = () => new Date() } = {}) {
    this.#now = now;
  }

  /** A class for the option `WebSocket` of a client, whose token is its user's id. */
  get WebSocket() {
    const server = this;
    return class extends FakeWebSocket {
      constructor(url, protocols) {
        super();
        queueMicrotask(() => server.#connect(this, url, protocols));
      }
    };
  }

  /**
   * A client of a user; give it other options as you like.
   *
   * @param {string} userId
   * @param {object} [options]
   */
  client(userId, options = {}) {
    return new WsClient({
      url: "http://server.test",
      token: userId,
      WebSocket: this.WebSocket,
      minDelayMs: 0,
      maxDelayMs: 0,
      receiptDelayMs: 0,
      shareTabs: false,
      ...options,
    });
  }

  /** Ids of the users who are connected. */
  get users() {
    return [...new Set([...this.#connections].map(({ userId }) => userId))];
  }

  /** Wait until everything that is under way has arrived. */
  async idle() {
    for (let turn = 0; turn < TURNS; turn++) await null;
  }

  // What happens at the server

  /**
   * A message in a session. Returns the push.
   *
   * @param {string} sessionId
   * @param {string | object} content
   * @param {{from?: string, username?: string, role?: string, contentType?: string}} [options]
   */
  say(sessionId, content, { from = "system", username, role = "user", contentType = "text" } = {}) {
    const sender = { user_id: from, username: username ?? null, role };
    return this.#message(sessionId, sender, content, contentType);
  }

  /**
   * A notification in a user's inbox. Returns the push.
   *
   * @param {string} userId
   * @param {object} [content]
   */
  notify(userId, content = {}) {
    const timestamp = this.#time();
    const notification = {
      id: this.#id("notify"),
      title: "",
      message: "",
      type: "info",
      action_url: null,
      auto_close: true,
      timestamp,
      ...content,
    };
    const push = { type: "notification", id: this.#id("msg"), notification, timestamp };
    return this.#keepForUser(userId, push);
  }

  /**
   * Any live push: to all, to a user or to a session. Returns it.
   *
   * @param {string} type
   * @param {object} [fields]
   * @param {{user?: string, session?: string}} [target]
   */
  push(type, fields = {}, { user, session } = {}) {
    const push = { type, ...fields, timestamp: this.#time() };
    for (const connection of this.#connections) {
      const isMeant = user === undefined || connection.userId === user;
      if (isMeant && (session === undefined || connection.sessions.has(session))) {
        connection.send(push);
      }
    }
    return push;
  }

  /** Close the connections of a user, or all of them. */
  disconnect(code = 1006, reason = "", userId = undefined) {
    for (const connection of [...this.#connections]) {
      if (userId === undefined || connection.userId === userId) {
        this.#leave(connection);
        connection.socket.end(code, reason);
      }
    }
  }

  /** The network is gone; `start` brings it back. What is kept stays. */
  stop() {
    this.#isUp = false;
    this.disconnect();
  }

  start() {
    this.#isUp = true;
  }

  /** Refuse who connects from now on, with this close code; null: let them in again. */
  refuseConnections(code, reason = "") {
    this.#refusal = code === null ? null : { code, reason };
  }

  /** Forget the numbering of a session, as a restored backup does: clients see `ws:gap`. */
  forget(sessionId) {
    this.#streams.set(SESSION + sessionId, Object.assign([], { epoch: this.#id("epoch") }));
  }

  /**
   * Answer a command in another way: with what the function returns; undefined: not at all.
   *
   * @param {string} type
   * @param {((command: any) => object | undefined) | null} answer null: as before
   */
  answer(type, answer) {
    if (answer === null) this.#answers.delete(type);
    else this.#answers.set(type, answer);
  }

  /**
   * Refuse a command.
   *
   * @param {string} type
   * @param {string} code
   * @param {object} [details] such as `temporary` and `retry_after_ms`
   */
  refuse(type, code, details = {}) {
    const error = { code, message: code, temporary: false, ...details };
    this.answer(type, () => ({ type: "error", error }));
  }

  // Connections

  #connect(socket, url, protocols = []) {
    if (socket.readyState !== CONNECTING) return;
    if (!this.#isUp) {
      socket.end(1006, "");
      return;
    }
    const userId = protocols.find((each) => each.startsWith("bearer."))?.slice("bearer.".length);
    const { code, reason } =
      this.#refusal ?? (userId ? {} : { code: 4500, reason: "token missing" });
    socket.open();
    if (code !== undefined) {
      socket.end(code, reason);
      return;
    }
    const bound = /\/session\/([^/?]+)/.exec(new URL(url).pathname)?.[1];
    const sessionId = bound === undefined ? null : decodeURIComponent(bound);
    const connection = {
      userId,
      socket,
      sessions: new Set(),
      send: (push) => socket.deliver(JSON.stringify(push)),
    };
    this.#connections.add(connection);
    socket.received = (text) => this.#hear(connection, JSON.parse(text));
    socket.closed = () => this.#leave(connection);
    this.#greet(connection, sessionId);
  }

  #greet(connection, sessionId) {
    const { userId, send } = connection;
    const timestamp = this.#time();
    const waiting = [...this.#of(this.#pending, userId, () => new Map()).values()];
    send({
      type: "connection_established",
      connection_id: this.#id("conn"),
      user_id: userId,
      session_id: sessionId,
      heartbeat_interval: 30,
      heartbeat_timeout: 60,
      server_time: timestamp,
      inbox: { ...this.#position(INBOX + userId), pending: waiting.length },
      organization_id: null,
      organization: null,
      protocol: "wsserver.v1",
      max_message_bytes: 65_536,
      timestamp,
    });
    if (sessionId !== null) {
      send({ ...this.#join(connection, sessionId), type: "session_joined", timestamp });
    }
    for (const push of waiting) send(push);
  }

  #leave(connection) {
    if (!this.#connections.delete(connection)) return;
    for (const sessionId of connection.sessions) this.#told(connection, sessionId, "session_left");
  }

  /** Tell the others in a session that a user came or went. */
  #told({ userId }, sessionId, type) {
    if (this.#in(sessionId).some((each) => each.userId === userId)) return;
    for (const other of this.#in(sessionId)) {
      other.send({ type, session_id: sessionId, user_id: userId, timestamp: this.#time() });
    }
  }

  #in(sessionId) {
    return [...this.#connections].filter(({ sessions }) => sessions.has(sessionId));
  }

  // Commands

  #hear(connection, command) {
    const { ref, ...fields } = command;
    if (fields.type === "pong") return;
    this.commands.push({ user_id: connection.userId, ...fields });
    const answer = this.#answers.get(fields.type) ?? FakeServer.#usual[fields.type];
    const reply = answer
      ? answer.call(this, fields, this, connection)
      : refusal("unknown_type", `unknown command ${fields.type}`);
    if (reply !== undefined) connection.send({ ...reply, ref });
  }

  /** What the server answers. */
  static #usual = {
    __proto__: null,
    ping: ({ data }, server) => ({
      type: "pong",
      server_time: server.#time(),
      ...(data === undefined ? {} : { data }),
    }),
    join_session: ({ session_id: id, since }, server, connection) => ({
      type: "session_joined",
      ...server.#join(connection, id, since),
    }),
    leave_session: ({ session_id: id }, server, connection) => {
      if (connection.sessions.delete(id)) server.#told(connection, id, "session_left");
      return { type: "session_left", session_id: id, user_id: connection.userId };
    },
    send_message: (command, server, connection) => server.#accept(connection, command),
    typing: ({ session_id: id, is_typing: isTyping }, server, connection) => {
      if (!connection.sessions.has(id)) return notJoined(id);
      const who = { user_id: connection.userId, username: null };
      const push = { type: "typing", session_id: id, ...who, is_typing: isTyping };
      for (const other of server.#in(id)) {
        if (other.userId !== who.user_id) other.send({ ...push, timestamp: server.#time() });
      }
      return { type: "ack" };
    },
    presence: ({ session_id: id }, server, connection) =>
      connection.sessions.has(id)
        ? { type: "presence", session_id: id, users: server.#presence(id) }
        : notJoined(id),
    history: (command, server) => server.#history(command),
    resume: ({ streams }, server, connection) => ({
      type: "resumed",
      streams: Object.fromEntries(
        Object.entries(streams).map(([name, since]) => {
          const answer = server.#recover(name, since);
          if (name.startsWith(SESSION)) server.#enter(connection, name.slice(SESSION.length));
          return [name, answer];
        }),
      ),
    }),
    ack: (command, server, connection) => server.#receipt(connection, command, "delivered"),
    read: (command, server, connection) => server.#receipt(connection, command, "read"),
    refresh_token: (_, server) => {
      const hour = new Date(server.#now().getTime() + 3_600_000);
      return { type: "token_refreshed", expires_at: hour.toISOString() };
    },
  };

  #enter(connection, sessionId) {
    if (connection.sessions.has(sessionId)) return;
    this.#told(connection, sessionId, "session_joined");
    connection.sessions.add(sessionId);
  }

  #join(connection, sessionId, since = undefined) {
    this.#enter(connection, sessionId);
    const name = SESSION + sessionId;
    const answer = since
      ? this.#recover(name, since)
      : { recovered: false, ...this.#position(name), messages: [] };
    const users = this.#presence(sessionId);
    return { session_id: sessionId, user_id: connection.userId, ...answer, users };
  }

  #presence(sessionId) {
    const users = new Map();
    for (const { userId } of this.#in(sessionId)) {
      const entry = { user_id: userId, username: null, connections: 0 };
      this.#of(users, userId, () => entry).connections += 1;
    }
    return [...users.values()];
  }

  #accept({ userId, sessions }, command) {
    const { session_id: sessionId, content, content_type: contentType = "text" } = command;
    const { client_message_id: clientId } = command;
    if (!sessions.has(sessionId)) return notJoined(sessionId);
    const key = `${userId}/${clientId}`;
    if (clientId !== undefined && this.#dedup.has(key)) return this.#dedup.get(key);
    const sender = { user_id: userId, username: null, role: "user" };
    const push = this.#message(sessionId, sender, content, contentType, clientId);
    const { id, stream, epoch, offset } = push;
    const ack = { type: "ack", message_id: id, stream, epoch, offset };
    if (clientId !== undefined) this.#dedup.set(key, ack);
    return ack;
  }

  #history({ session_id: sessionId, before = Infinity, after = 0, limit = HISTORY }) {
    const stream = this.#stream(SESSION + sessionId);
    const found = stream.filter(({ offset }) => offset < before && offset > after);
    const messages = after > 0 ? found.slice(0, limit) : found.slice(-limit);
    return {
      type: "history",
      session_id: sessionId,
      messages,
      epoch: stream.epoch,
      has_more: messages.length < found.length,
    };
  }

  #receipt({ userId }, { ids = [], stream, offset }, status) {
    let count = 0;
    const pending = this.#of(this.#pending, userId, () => new Map());
    for (const [id, push] of [...pending]) {
      const isUpTo = push.stream === stream && push.offset <= offset;
      if (ids.includes(id) || ids.includes(push.notification?.id) || isUpTo) {
        pending.delete(id);
        count += 1;
      }
    }
    for (const pushes of this.#streams.values()) {
      for (const push of pushes) {
        const author = push.message?.sender.user_id;
        if (!ids.includes(push.id) || author === userId || !push.session_id) continue;
        count += push.stream.startsWith(SESSION) ? 1 : 0;
        const told = { message_id: push.id, session_id: push.session_id, status, user_id: userId };
        this.push("message_status_update", told, { user: author });
      }
    }
    return { type: "ack", acknowledged: count };
  }

  // Streams

  #stream(name) {
    return this.#of(this.#streams, name, () => Object.assign([], { epoch: EPOCH }));
  }

  #position(name) {
    const stream = this.#stream(name);
    return { epoch: stream.epoch, offset: stream.length };
  }

  #recover(name, { epoch, offset }) {
    const stream = this.#stream(name);
    const position = this.#position(name);
    const reason =
      epoch !== stream.epoch
        ? "epoch_changed"
        : offset > stream.length
          ? "offset_ahead"
          : undefined;
    if (reason) return { recovered: false, ...position, messages: [], reason };
    return { recovered: true, ...position, messages: stream.slice(offset) };
  }

  #keep(name, push) {
    const stream = this.#stream(name);
    const kept = { ...push, stream: name, epoch: stream.epoch, offset: stream.length + 1 };
    stream.push(kept);
    return kept;
  }

  #message(sessionId, sender, content, contentType, clientId = undefined) {
    const id = this.#id("msg");
    const timestamp = this.#time();
    const message = {
      id,
      session_id: sessionId,
      sender,
      content,
      content_type: contentType,
      created_at: timestamp,
      ...(clientId === undefined ? {} : { client_message_id: clientId }),
    };
    const whole = { type: "new_message", id, session_id: sessionId, message, timestamp };
    const push = this.#keep(SESSION + sessionId, whole);
    for (const connection of this.#in(sessionId)) connection.send(push);
    return push;
  }

  #keepForUser(userId, push) {
    const kept = this.#keep(INBOX + userId, push);
    this.#of(this.#pending, userId, () => new Map()).set(kept.id, kept);
    for (const connection of this.#connections) {
      if (connection.userId === userId) connection.send(kept);
    }
    return kept;
  }

  #of(map, key, make) {
    if (!map.has(key)) map.set(key, make());
    return map.get(key);
  }

  #id(prefix) {
    this.#ids += 1;
    return `${prefix}_${String(this.#ids).padStart(8, "0")}`;
  }

  #time() {
    return this.#now().toISOString();
  }
}

/** The client's end of a connection; what is sent arrives in the next microtask. */
class FakeWebSocket {
  readyState = CONNECTING;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  received = () => {};
  closed = () => {};

  send(text) {
    if (this.readyState === CONNECTING) throw new DOMException("connecting", "InvalidStateError");
    queueMicrotask(() => this.readyState === OPEN && this.received(text));
  }

  close(code = 1005, reason = "") {
    if (this.readyState === CLOSED) return;
    queueMicrotask(() => {
      this.closed();
      this.end(code, reason);
    });
  }

  // The server's end

  open() {
    this.readyState = OPEN;
    this.onopen?.({ type: "open" });
  }

  deliver(text) {
    queueMicrotask(() => this.readyState === OPEN && this.onmessage?.({ data: text }));
  }

  end(code, reason) {
    if (this.readyState === CLOSED) return;
    queueMicrotask(() => {
      if (this.readyState === CLOSED) return;
      this.readyState = CLOSED;
      this.onclose?.({ code, reason, wasClean: code !== 1006 });
    });
  }
}

function refusal(code, message) {
  return { type: "error", error: { code, message, temporary: false } };
}

function notJoined(sessionId) {
  return refusal("not_joined", `session ${sessionId} not joined`);
}
