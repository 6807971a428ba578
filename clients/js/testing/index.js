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
import { FakeAnswers } from "./answers.js";
import { ANSWERS } from "./commands.js";
import { Conversations } from "./conversations.js";
import { Feed } from "./feed.js";
import { Messages, refusal } from "./messages.js";
import { CONNECTING, FakeWebSocket } from "./socket.js";
import { INBOX, SESSION, State } from "./state.js";

export { WsReplay } from "./replay.js";

const TURNS = 50; // of the microtask queue, in which everything happens

export class FakeServer {
  /** Every command that has come, in order: `{user_id, type, …}`. */
  commands = [];
  #state;
  #messages;
  #conversations;
  #feed;
  #growing;
  #answers = new Map(); // command type -> (command) => reply
  #refusal = null; // {code, reason} of the handshake
  #isUp = true;

  /** @param {{now?: () => Date}} [options] */
  constructor({ now = () => new Date() } = {}) {
    this.#state = new State(now);
    this.#conversations = new Conversations(this.#state);
    this.#feed = new Feed(this.#state);
    this.#messages = new Messages(this.#state, this.#conversations);
    this.#growing = new FakeAnswers(this.#state, this.#messages);
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
    return [...new Set([...this.#state.connections].map(({ userId }) => userId))];
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
   * @param {{from?: string, username?: string, role?: string, contentType?: string,
   *   replyTo?: string}} [options]
   */
  say(sessionId, content, options = {}) {
    const { from = "system", username = null, role = "user", contentType = "text" } = options;
    const sender = { user_id: from, username, role };
    const fields = { content_type: contentType, reply_to: options.replyTo };
    return this.#messages.add(sessionId, sender, content, fields);
  }

  /**
   * Begin an answer that grows. Returns its producer: `append(text)`, `finish()`, `id`, `state`.
   *
   * @param {string} sessionId
   * @param {{from?: string, username?: string, content?: string, replyTo?: string}} [options]
   */
  startAnswer(sessionId, { from = "assistant", username = null, content = "", replyTo } = {}) {
    const sender = { user_id: from, username, role: "ai" };
    const fields = { content_type: "text", reply_to: replyTo };
    return this.#growing.start(sessionId, sender, content, fields);
  }

  /** Edit a message, as a moderator does. Returns the push. */
  edit(messageId, content, by = "moderator") {
    return this.#messages.edit(messageId, content, by);
  }

  /** Delete a message, as a moderator does. Returns the push. */
  remove(messageId, by = "moderator") {
    return this.#messages.delete(messageId, by);
  }

  /** Change `title`, `state` or `metadata` of a session. Returns the session. */
  update(sessionId, fields, by = "service") {
    return { ...this.#conversations.update(sessionId, fields, by) };
  }

  /** Set the holder of a session, `{type: "user" | "ai", id}` or null. Returns the session. */
  hold(sessionId, holder, by = "service") {
    this.#conversations.hold(sessionId, holder, by);
    return { ...this.#conversations.get(sessionId) };
  }

  /**
   * A notification in a user's inbox. Returns the push.
   *
   * @param {string} userId
   * @param {object} [content]
   */
  notify(userId, content = {}) {
    const notification = {
      id: this.#state.id("notify"),
      title: "",
      message: "",
      type: "info",
      action_url: null,
      auto_close: true,
      timestamp: this.#state.time(),
      ...content,
    };
    const push = { type: "notification", id: this.#state.id("msg"), notification };
    const kept = this.#state.keepForUser(userId, push);
    this.#feed.add(userId, kept);
    return kept;
  }

  /**
   * Any live push: to all, to a user or to a session. Returns it.
   *
   * @param {string} type
   * @param {object} [fields]
   * @param {{user?: string, session?: string}} [target]
   */
  push(type, fields = {}, { user, session } = {}) {
    const isMeant = ({ userId, sessions }) =>
      (user === undefined || userId === user) && (session === undefined || sessions.has(session));
    const connections = [...this.#state.connections].filter(isMeant);
    return this.#state.send({ type, ...fields }, connections);
  }

  /** Close the connections of a user, or all of them. */
  disconnect(code = 1006, reason = "", userId = undefined) {
    for (const connection of [...this.#state.connections]) {
      if (userId === undefined || connection.userId === userId) {
        this.#state.drop(connection);
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
    this.#state.restart(SESSION + sessionId);
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
    this.answer(type, () => refusal(code, code, details));
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
    const send = (push) => socket.deliver(JSON.stringify(push));
    const connection = { userId, socket, sessions: new Set(), send };
    this.#state.connections.add(connection);
    socket.received = (text) => this.#hear(connection, JSON.parse(text));
    socket.closed = () => this.#state.drop(connection);
    this.#greet(connection, sessionId);
  }

  #greet(connection, sessionId) {
    const { userId, send } = connection;
    const timestamp = this.#state.time();
    const waiting = [...this.#state.inbox(userId).values()];
    send({
      type: "connection_established",
      connection_id: this.#state.id("conn"),
      user_id: userId,
      session_id: sessionId,
      heartbeat_interval: 30,
      heartbeat_timeout: 60,
      server_time: timestamp,
      inbox: { ...this.#state.position(INBOX + userId), pending: waiting.length },
      organization_id: null,
      organization: null,
      protocol: "wsserver.v1",
      max_message_bytes: 65_536,
      timestamp,
    });
    if (sessionId !== null) {
      const joined = this.#messages.join(connection, sessionId);
      send({ ...joined, type: "session_joined", timestamp });
    }
    for (const push of waiting) send(push);
  }

  #hear(connection, command) {
    const { ref, ...fields } = command;
    if (fields.type === "pong") return;
    this.commands.push({ user_id: connection.userId, ...fields });
    const answer = this.#answers.get(fields.type) ?? ANSWERS[fields.type];
    const parts = {
      state: this.#state,
      messages: this.#messages,
      conversations: this.#conversations,
      feed: this.#feed,
      answers: this.#growing,
    };
    const reply = answer
      ? answer(fields, connection, parts)
      : refusal("unknown_type", `unknown command ${fields.type}`, { field: "type" });
    if (reply !== undefined) connection.send({ ...reply, ref });
  }
}
