/** Sessions as conversations in the server in memory: their state, and who holds them. */

import { refusal } from "./messages.js";
import { SESSION } from "./state.js";

const PAGE = 50;

export class Conversations {
  #state;
  #sessions = new Map(); // id -> the session as others see it
  #users = new Map(); // id -> users who have been in it
  #read = new Map(); // id -> Map of user -> offset
  #unread = new Map(); // "user session" -> the number that was told last
  #responders = new Map(); // id -> the AI that held it last

  constructor(state) {
    this.#state = state;
  }

  /** The session; its time begins with the first message, or what is set of it. */
  get(sessionId) {
    if (!this.#sessions.has(sessionId)) {
      this.#sessions.set(sessionId, {
        session_id: sessionId,
        title: null,
        state: "open",
        holder: null,
        term: 0,
        organization_id: null,
        metadata: {},
        created_at: null,
        updated_at: null,
      });
    }
    return this.#sessions.get(sessionId);
  }

  /** A user has come into it: who is new has read everything. */
  note(sessionId, userId) {
    this.get(sessionId);
    if (!this.#users.has(sessionId)) {
      this.#users.set(sessionId, new Set());
      this.#read.set(sessionId, new Map());
    }
    this.#users.get(sessionId).add(userId);
    const read = this.#read.get(sessionId);
    if (!read.has(userId)) read.set(userId, this.#state.position(SESSION + sessionId).offset);
  }

  /** A user has written in it. */
  wrote(sessionId, userId, offset) {
    this.note(sessionId, userId);
    this.#read.get(sessionId).set(userId, offset);
    this.#begin(sessionId);
    this.count(sessionId);
  }

  #begin(sessionId) {
    const session = this.get(sessionId);
    if (session.created_at === null) session.created_at = session.updated_at = this.#state.time();
  }

  /** What is unread to a user: messages of others after the user's position. */
  unread(sessionId, userId) {
    const position = this.#read.get(sessionId).get(userId);
    const isUnread = ({ type, message }) =>
      type === "new_message" && !message.deleted && message.sender.user_id !== userId;
    return this.#state.stream(SESSION + sessionId).slice(position).filter(isUnread).length;
  }

  #total(userId) {
    return this.#of(userId).reduce((sum, id) => sum + this.unread(id, userId), 0);
  }

  /** The sessions of a user. */
  #of(userId) {
    return [...this.#users].filter(([, users]) => users.has(userId)).map(([id]) => id);
  }

  /** Messages have come or gone, or a position has moved: tell the users whose numbers changed. */
  count(sessionId) {
    for (const userId of this.#users.get(sessionId) ?? []) {
      const unread = this.unread(sessionId, userId);
      const key = `${userId} ${sessionId}`;
      if (unread === (this.#unread.get(key) ?? 0)) continue;
      this.#unread.set(key, unread);
      const push = { type: "unread_changed", session_id: sessionId, unread };
      this.#state.send({ ...push, total: this.#total(userId) }, this.#state.of(userId));
    }
  }

  /** The command `conversations`. */
  list({ userId }, { limit = PAGE, cursor = null, state = null }) {
    const all = this.#of(userId).map((id) => this.#conversation(id, userId));
    const isAsked = (each) => state === null || each.state === state;
    const sorted = all.filter(isAsked).sort((a, b) => compare(rankOf(b), rankOf(a)));
    const rest = sorted.filter((each) => cursor === null || compare(rankOf(each), cursor) < 0);
    const conversations = rest.slice(0, limit);
    return {
      type: "conversations",
      conversations,
      unread_total: this.#total(userId),
      next_cursor: rest.length > limit ? rankOf(conversations.at(-1)) : null,
    };
  }

  #conversation(sessionId, userId) {
    const stream = this.#state.stream(SESSION + sessionId);
    const last = stream.findLast(({ type }) => type === "new_message");
    return {
      ...this.get(sessionId),
      last_message: last?.message ?? null,
      offset: stream.length,
      members: [],
      active: [...new Set(this.#state.in(sessionId).map((each) => each.userId))].sort(),
      unread: this.unread(sessionId, userId),
      read_offset: this.#read.get(sessionId).get(userId),
    };
  }

  /** The command `mark_read`. */
  markRead({ userId }, { session_id: sessionId, offset }) {
    this.note(sessionId, userId);
    const read = this.#read.get(sessionId);
    const position = Math.min(offset, this.#state.position(SESSION + sessionId).offset);
    if (position > read.get(userId)) {
      read.set(userId, position);
      const push = { type: "read_position", session_id: sessionId, user_id: userId };
      this.#state.send({ ...push, offset: position }, this.#state.in(sessionId));
      this.count(sessionId);
    }
    return { type: "ack" };
  }

  /** Who is in a session: each user once. */
  presence(sessionId) {
    const read = this.#read.get(sessionId);
    const users = new Map();
    for (const { userId } of this.#state.in(sessionId)) {
      const connections = (users.get(userId)?.connections ?? 0) + 1;
      const read_offset = read?.get(userId) ?? null;
      users.set(userId, { user_id: userId, username: null, connections, read_offset });
    }
    return [...users.values()];
  }

  /** Change fields of a session, and tell everybody whom it is about. */
  update(sessionId, fields, by) {
    const session = this.get(sessionId);
    const same = (name) => JSON.stringify(session[name]) === JSON.stringify(fields[name]);
    const changed = Object.keys(fields).filter((name) => !same(name));
    this.#begin(sessionId);
    if (changed.length === 0) return session;
    Object.assign(session, fields, { updated_at: this.#state.time() });
    const users = this.#users.get(sessionId) ?? new Set();
    const isMeant = ({ userId, sessions }) => sessions.has(sessionId) || users.has(userId);
    const push = { type: "session_updated", session: { ...session }, changed, by };
    this.#state.send(push, [...this.#state.connections].filter(isMeant));
    return session;
  }

  /** Set or clear the holder of a session. */
  hold(sessionId, holder, by) {
    const { holder: before, term } = this.get(sessionId);
    if (before?.type === holder?.type && before?.id === holder?.id) return;
    if (holder?.type === "ai") this.#responders.set(sessionId, holder);
    this.update(sessionId, { holder, term: term + 1 }, by);
  }

  /** The command `take`. */
  take({ userId }, { session_id: sessionId, expected_term: expected }) {
    const { term } = this.get(sessionId);
    if (expected !== undefined && expected !== term) {
      return refusal("term_changed", `the term is ${term}`, { term });
    }
    this.hold(sessionId, { type: "user", id: userId }, userId);
    return this.#reply("taken", sessionId);
  }

  /** The command `release`. */
  release({ userId }, { session_id: sessionId, to = null }) {
    const { holder } = this.get(sessionId);
    if (holder?.type !== "user" || holder.id !== userId) {
      return refusal("forbidden", `session ${sessionId} is not held by ${userId}`);
    }
    const next = to === "ai" ? this.#responders.get(sessionId) : null;
    if (next === undefined) return refusal("no_responder", "no AI has held it");
    this.hold(sessionId, next, userId);
    return this.#reply("released", sessionId);
  }

  #reply(type, sessionId) {
    const { term, holder } = this.get(sessionId);
    return { type, session_id: sessionId, term, holder };
  }
}

/** By what conversations are sorted: ids of messages are in the order of time. */
function rankOf({ last_message: last, created_at: createdAt, session_id: sessionId }) {
  return `${last?.created_at ?? createdAt ?? ""} ${last?.id ?? ""} ${sessionId}`;
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
