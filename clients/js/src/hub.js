/**
 * What the leader of several tabs does with the one connection: numbers the commands of all, gives
 * each tab its replies and the pushes that are for it, and tells newcomers what was told already.
 */

import { HANDED_OVER, RESTART } from "./closing.js";

const OPEN = 1; // WebSocket.readyState
const SESSION = "session:";
const INBOX = "user:";
const ORGANIZATION = "organization:";
/** Live pushes that name a session and are for the user, wherever that is. */
const FOR_ALL = new Set(["message_status_update", "unread_changed", "call_incoming", "call_state"]);
const RECEIPTS = new Set(["ack", "read"]);
const REMEMBERED = 4000; // receipts, and messages of the inbox that no tab has acknowledged

export class Hub {
  #own; // the tab in which this is
  #tell; // (ids of sockets, message) => void
  #socket = null;
  #established = null; // the first push of the connection, once it has come
  #establishedAt = 0;
  #tabs = new Map(); // id of a tab's socket, "tab.number" -> {wanted, sessions}: those asked for, and those joined
  #commands = new Map(); // ref -> {id, ref, command}
  #nextRef = 1;
  #positions = new Map(); // stream -> {epoch, offset}
  #inbox = new Map(); // message id -> push, as long as no tab has acknowledged it
  #receipts = new Set(); // "ack msg_…": taken by the server

  constructor(own, tell) {
    this.#own = own;
    this.#tell = tell;
  }

  get isOpen() {
    return this.#socket !== null;
  }

  /** Talk over this WebSocket from now on. */
  open(socket) {
    this.#reset();
    this.#socket = socket;
    const isCurrent = () => socket === this.#socket;
    socket.onmessage = ({ data }) => isCurrent() && this.#hear(data);
    socket.onclose = ({ code, reason }) => isCurrent() && this.#end(code, reason);
    socket.onerror = () => {};
  }

  /** Close the connection; the tabs try to get another one at once. */
  close(code, reason) {
    const socket = this.#socket;
    this.#end(RESTART, HANDED_OVER);
    socket?.close(code, reason);
  }

  /** Add a tab. It gets a message as soon as there is a connection. */
  attach(id) {
    this.detach(id);
    this.#tabs.set(id, { wanted: new Set(), sessions: new Set() });
    if (this.#established === null) return;
    this.#push([id], JSON.stringify(this.#present()));
    const waiting = [...this.#inbox.values()].sort((a, b) => a.offset - b.offset);
    for (const push of waiting) this.#push([id], JSON.stringify(push));
  }

  /** A tab has gone, and with it what was under way for it. */
  detach(id) {
    const tab = this.#tabs.get(id);
    if (tab === undefined) return;
    this.#tabs.delete(id);
    for (const [ref, entry] of this.#commands) if (entry.id === id) this.#commands.delete(ref);
    if (this.#established === null) return;
    for (const sessionId of tab.wanted) {
      if (!this.#isWanted(sessionId)) this.#send({ type: "leave_session", session_id: sessionId });
    }
  }

  /** A tab is dead. */
  detachTab(tab) {
    for (const id of [...this.#tabs.keys()]) if (id.startsWith(`${tab}.`)) this.detach(id);
  }

  /** A command of a tab. */
  receive(id, text) {
    const tab = this.#tabs.get(id);
    if (tab === undefined || this.#established === null) return;
    const command = JSON.parse(text);
    const answer = this.#prepare(tab, command);
    if (answer !== undefined) {
      if (answer !== null) this.#push([id], JSON.stringify({ ...answer, ref: command.ref }));
      return;
    }
    const ref = this.#nextRef++;
    this.#commands.set(ref, { id, ref: command.ref, command });
    const message = JSON.stringify({ ...command, ref });
    const limit = this.#established.max_message_bytes ?? Infinity;
    if (message.length * 3 > limit && new TextEncoder().encode(message).length > limit) {
      const error = { code: "message_too_big", message: `more than ${limit} bytes`, limit };
      this.#hear(JSON.stringify({ type: "error", ref, error }));
      return;
    }
    this.#write(message);
  }

  /** What can be answered here, null for what needs no answer; undefined: it is to be sent. */
  #prepare(tab, command) {
    const { type, session_id: sessionId } = command;
    if (type === "pong") return null; // the hub has answered
    if (RECEIPTS.has(type) && command.ids) {
      // Every tab acknowledges what comes to all of them.
      command.ids = command.ids.filter((id) => !this.#receipts.has(`${type} ${id}`));
      return command.ids.length === 0 ? { type: "ack", acknowledged: 0 } : undefined;
    }
    if (type === "join_session") tab.wanted.add(sessionId);
    if (type === "resume") for (const each of sessionsOf(command.streams)) tab.wanted.add(each);
    if (type === "leave_session") {
      tab.wanted.delete(sessionId);
      tab.sessions.delete(sessionId);
      if (this.#isWanted(sessionId)) {
        return { type: "session_left", session_id: sessionId, user_id: this.#established.user_id };
      }
    }
    return undefined;
  }

  #isWanted(sessionId) {
    return [...this.#tabs.values()].some(({ wanted }) => wanted.has(sessionId));
  }

  // From the server

  #hear(text) {
    let push;
    try {
      push = JSON.parse(text);
    } catch {
      push = null;
    }
    if (push?.ref !== undefined) this.#settle(push);
    else this.#forward(push, text);
  }

  /** A reply: to the tab that has asked, under its own number. */
  #settle(reply) {
    const entry = this.#commands.get(reply.ref);
    if (entry === undefined) return;
    this.#commands.delete(reply.ref);
    const tab = this.#tabs.get(entry.id);
    if (tab !== undefined) this.#note(tab, entry.command, reply);
    this.#push([entry.id], JSON.stringify({ ...reply, ref: entry.ref }));
  }

  /** What a reply changes. */
  #note(tab, command, reply) {
    const { type } = command;
    const isRefused = reply.type === "error";
    const joined = (sessionId, isIn) => {
      if (isIn && tab.wanted.has(sessionId)) tab.sessions.add(sessionId);
      else if (!isIn && !tab.sessions.has(sessionId)) tab.wanted.delete(sessionId);
    };
    if (type === "join_session") joined(command.session_id, !isRefused);
    if (type === "resume") {
      for (const each of sessionsOf(command.streams)) {
        const answer = reply.streams?.[SESSION + each];
        joined(each, answer !== undefined && answer.reason !== "forbidden");
      }
    }
    if (RECEIPTS.has(type) && !isRefused) this.#acknowledged(command);
  }

  #acknowledged({ type, ids, stream, offset }) {
    for (const id of ids ?? []) add(this.#receipts, `${type} ${id}`);
    for (const [id, push] of this.#inbox) {
      const isNamed = ids?.includes(id) || ids?.includes(push.notification?.id);
      if (isNamed || (push.stream === stream && push.offset <= offset)) this.#inbox.delete(id);
    }
  }

  #forward(push, text) {
    const tabs = [...this.#tabs.keys()];
    if (push?.type === "connection_established") {
      this.#established = push;
      this.#establishedAt = performance.now();
    }
    if (push?.type === "ping") this.#write(JSON.stringify({ type: "pong", id: push.id }));
    if (push?.type === "token_expiring") {
      // One is enough to fetch a new one.
      this.#push(tabs.filter((id) => id.startsWith(`${this.#own}.`)), text);
      return;
    }
    if (typeof push?.stream === "string") this.#keep(push);
    this.#push(push === null ? tabs : this.#listeners(push, tabs), text);
    if (push?.type === "session_left" && push.user_id === this.#established?.user_id) {
      for (const { wanted, sessions } of this.#tabs.values()) {
        wanted.delete(push.session_id);
        sessions.delete(push.session_id);
      }
    }
  }

  /** The tabs that a push is for: of those of a session, the tabs that have joined it. */
  #listeners({ type, stream, session_id: named }, tabs) {
    let sessionId = stream?.startsWith(SESSION) ? stream.slice(SESSION.length) : undefined;
    if (stream === undefined && !FOR_ALL.has(type)) sessionId = named;
    if (typeof sessionId !== "string") return tabs;
    const joined = tabs.filter((id) => this.#tabs.get(id).sessions.has(sessionId));
    // A live one may name a session and be meant for the user all the same.
    return joined.length > 0 || stream !== undefined ? joined : tabs;
  }

  /** Note what newcomers have to be told. */
  #keep(push) {
    const { id, stream, epoch, offset, redelivered } = push;
    if (stream.startsWith(INBOX)) {
      if (this.#inbox.size < REMEMBERED) this.#inbox.set(id, push);
      if (redelivered) for (const type of RECEIPTS) this.#receipts.delete(`${type} ${id}`);
    }
    if (!stream.startsWith(INBOX) && !stream.startsWith(ORGANIZATION)) return;
    const known = this.#positions.get(stream);
    if (known?.epoch !== epoch || known.offset < offset) {
      this.#positions.set(stream, { epoch, offset });
    }
  }

  /** The first push, as it would be now. */
  #present() {
    const { user_id: userId, organization_id: organizationId, inbox, organization } =
      this.#established;
    const now = (stream, then) => (then ? { ...then, ...this.#positions.get(stream) } : then);
    const elapsedMs = performance.now() - this.#establishedAt;
    const later = (time) => {
      const then = Date.parse(time);
      return Number.isNaN(then) ? time : new Date(then + elapsedMs).toISOString();
    };
    return {
      ...this.#established,
      server_time: later(this.#established.server_time),
      timestamp: later(this.#established.timestamp),
      inbox: now(INBOX + userId, inbox),
      organization: now(ORGANIZATION + organizationId, organization),
    };
  }

  // The connection

  #push(ids, text) {
    if (ids.length > 0) this.#tell(ids, { kind: "text", text });
  }

  /** What is sent while the socket closes is lost anyway; browsers log each such call as an error. */
  #write(text) {
    if (!(this.#socket.readyState > OPEN)) this.#socket.send(text);
  }

  #send(command) {
    this.#write(JSON.stringify({ ...command, ref: this.#nextRef++ }));
  }

  /** The connection has ended. */
  #end(code, reason) {
    const ids = [...this.#tabs.keys()];
    this.#reset();
    this.#tabs.clear();
    if (ids.length > 0) this.#tell(ids, { kind: "close", code, reason });
  }

  #reset() {
    this.#socket = null;
    this.#established = null;
    this.#commands.clear();
    this.#positions.clear();
    this.#inbox.clear();
    this.#receipts.clear();
  }
}

function sessionsOf(streams) {
  const names = Object.keys(streams).filter((name) => name.startsWith(SESSION));
  return names.map((name) => name.slice(SESSION.length));
}

function add(set, value) {
  set.add(value);
  if (set.size > REMEMBERED) set.delete(set.values().next().value);
}
