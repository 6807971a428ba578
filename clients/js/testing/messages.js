/** Messages of sessions in the server in memory: said, edited, deleted, read again. */

import { SESSION } from "./state.js";

const PAGE = 50;
const FOUND = 20;
const MISSED = 20;
const CHANGES = new Set(["message_updated", "message_deleted", "answer_ended"]);

export class Messages {
  #state;
  #conversations;
  #byId = new Map(); // pushes `new_message`
  #acks = new Map(); // "user/client_message_id" -> ack

  constructor(state, conversations) {
    this.#state = state;
    this.#conversations = conversations;
  }

  /** A new message; `fields` of it beside sender and content. Returns the push. */
  add(sessionId, sender, content, fields) {
    const id = this.#state.id("msg");
    const created_at = this.#state.time();
    const message = { id, session_id: sessionId, sender, content, ...fields, created_at };
    const push = { type: "new_message", id, session_id: sessionId, message };
    const kept = this.#keep(sessionId, push);
    this.#byId.set(id, kept);
    this.#conversations.wrote(sessionId, sender.user_id, kept.offset);
    return kept;
  }

  /** The command `send_message`. */
  accept({ userId }, { session_id: sessionId, content, ...more }) {
    const { client_message_id: clientId, content_type = "text", reply_to: replyTo } = more;
    const { seen_offset: seen } = more;
    const key = `${userId}/${clientId}`;
    if (clientId !== undefined && this.#acks.has(key)) return this.#acks.get(key);
    if (replyTo !== undefined && this.find(replyTo)?.session_id !== sessionId) {
      return refusal("not_found", `no message ${replyTo}`);
    }
    const missed = seen === undefined ? [] : this.#after(sessionId, seen, userId);
    if (missed.length > 0) {
      const details = { temporary: true, missed };
      return refusal("stale_view", "there are messages that the sender has not seen", details);
    }
    const sender = { user_id: userId, username: null, role: "user" };
    const fields = { content_type, client_message_id: clientId, reply_to: replyTo };
    const { id, stream, epoch, offset } = this.add(sessionId, sender, content, fields);
    const ack = { type: "ack", message_id: id, stream, epoch, offset };
    if (clientId !== undefined) this.#acks.set(key, ack);
    return ack;
  }

  /** The newest messages of others after an offset. */
  #after(sessionId, seen, userId) {
    const isMissed = ({ type, message, offset }) =>
      type === "new_message" &&
      offset > seen &&
      !message.deleted &&
      message.sender?.user_id !== userId;
    return this.#state.stream(SESSION + sessionId).filter(isMissed).slice(-MISSED);
  }

  /** The push `new_message` of a message, or undefined. */
  find(id) {
    const found = this.#byId.get(id);
    const isKept = found && this.#state.stream(found.stream)[found.offset - 1] === found;
    return isKept ? found : undefined; // the stream may have begun anew
  }

  /** Replace the content; null: there is no such message. Returns the push of the change. */
  edit(id, content, userId) {
    const found = this.find(id);
    if (found === undefined || found.message.deleted) return null;
    const edited = { edited_at: this.#state.time(), edited_by: userId };
    const message = { ...found.message, content, ...edited };
    return this.#change(found, message, { type: "message_updated" });
  }

  /** Leave nothing but the place of a message. */
  delete(id, userId) {
    const found = this.find(id);
    if (found === undefined || found.message.deleted) return null;
    const { session_id, created_at } = found.message;
    const message = { id, session_id, deleted: true, created_at };
    const deleted = { message_id: id, deleted_at: this.#state.time(), deleted_by: userId };
    const push = this.#change(found, message, { type: "message_deleted", ...deleted });
    this.#conversations.count(session_id);
    return push;
  }

  /** Every record of the message has its newest version, each at its own place. */
  #change(found, message, push) {
    for (const each of this.#state.stream(found.stream)) {
      if (each.message?.id === message.id) each.message = message;
    }
    const record = { ...push, id: this.#state.id("msg"), session_id: found.session_id, message };
    return this.#keep(found.session_id, record);
  }

  /** Keep a record about a message. Returns the push. */
  record(push) {
    return this.#keep(push.session_id, push);
  }

  #keep(sessionId, push) {
    const kept = this.#state.keep(SESSION + sessionId, push);
    for (const connection of this.#state.in(sessionId)) connection.send(kept);
    return kept;
  }

  /** The command `history`. */
  history({ session_id, before = Infinity, after = 0, limit = PAGE, changes = false }) {
    const stream = this.#state.stream(SESSION + session_id);
    const found = withoutChanges(stream, changes).filter(
      ({ offset }) => offset < before && offset > after,
    );
    const messages = after > 0 ? found.slice(0, limit) : found.slice(-limit);
    const has_more = messages.length < found.length;
    return { type: "history", session_id, messages, epoch: stream.epoch, has_more, receipts: {} };
  }

  /** The command `search`, for messages that contain all words. */
  search(connection, { query, session_id: sessionId, limit = FOUND, before }) {
    const words = query.toLowerCase().split(/\s+/);
    const isFound = ({ type, message }) =>
      type === "new_message" &&
      typeof message.content === "string" &&
      words.every((word) => message.content.toLowerCase().includes(word));
    const all = [...this.#state.streams]
      .flat()
      .filter((push) => (sessionId ? push.session_id === sessionId : push.session_id))
      .filter((push) => isFound(push) && (before === undefined || push.id < before));
    all.sort((a, b) => (a.id < b.id ? 1 : -1));
    const messages = all
      .slice(0, limit)
      .map((push) => ({ ...push, snippet: push.message.content.replace(/\s+/g, " ").trim() }));
    const next_cursor = messages.length === limit ? messages.at(-1).id : null;
    return { type: "found", messages, next_cursor };
  }

  /** The answer to `join_session`. */
  join(connection, sessionId, since, changes = false) {
    this.#conversations.note(sessionId, connection.userId);
    this.#state.enter(connection, sessionId);
    const name = SESSION + sessionId;
    const nothing = () => ({ recovered: false, ...this.#state.position(name), messages: [] });
    const answer = since ? this.#state.recover(name, since) : nothing();
    answer.messages = withoutChanges(answer.messages, changes);
    if (!answer.reason) answer.messages.unshift(...this.growing(sessionId, since?.offset));
    const users = this.#conversations.presence(sessionId);
    return { session_id: sessionId, user_id: connection.userId, ...answer, users };
  }

  /** The messages that grow in a session, up to an offset. */
  growing(sessionId, until = Infinity) {
    const isGrowing = ({ type, message, offset }) =>
      type === "new_message" && message.state === "growing" && offset <= until;
    return this.#state.stream(SESSION + sessionId).filter(isGrowing);
  }

  /** The commands `ack` and `read`. */
  receipt({ userId }, { ids = [], stream, offset }, status) {
    let count = 0;
    const inbox = this.#state.inbox(userId);
    for (const [id, push] of [...inbox]) {
      const isUpTo = push.stream === stream && push.offset <= offset;
      if (ids.includes(id) || ids.includes(push.notification?.id) || isUpTo) {
        inbox.delete(id);
        count += 1;
      }
    }
    for (const push of ids.map((id) => this.find(id))) {
      const author = push?.message.sender?.user_id;
      if (author === undefined || author === userId) continue;
      count += 1;
      const told = { message_id: push.id, session_id: push.session_id, status, user_id: userId };
      this.#state.send({ type: "message_status_update", ...told }, this.#state.of(author));
    }
    return { type: "ack", acknowledged: count };
  }
}

function withoutChanges(pushes, changes) {
  return changes ? pushes : pushes.filter(({ type }) => !CHANGES.has(type));
}

export function refusal(code, message, details = {}) {
  return { type: "error", error: { code, message, temporary: false, ...details } };
}
