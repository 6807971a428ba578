/**
 * Plays a recording of `wsctl record` to clients in unit tests, without a network or a server.
 *
 *   import { WsReplay } from "@wsserver/client/testing";
 *
 *   const replay = new WsReplay(recording, { user: "alice" });
 *   const client = replay.client();
 *   await client.connect();
 *   await replay.until("new_message");
 *   await replay.play();
 */

import { WsClient } from "../src/index.js";
import { refusal } from "./messages.js";
import { CONNECTING, FakeWebSocket } from "./socket.js";

const KIND = "wsserver-recording";
const FORMAT = 1;
const TURNS = 50; // of the microtask queue, in which everything happens
const OWN_CLOSES = new Set([1000, 1001, 1005]); // by the client: it does so itself here, or not
const ESTABLISHED = "connection_established";
const SESSION = "session:";

export class WsReplay {
  /** Every command that the client has sent, in order, without its `ref`. */
  commands = [];
  #user;
  #script; // what is still to be played: {at, push} or {at, close}
  #greetings = []; // the recorded `connection_established`, in order
  #asked = []; // recorded commands that were not sent yet: {command, reply}
  #socket = null;
  #connected = null; // resolves the promise of who waits for a connection

  /**
   * @param {object} recording what `wsctl record` wrote, parsed
   * @param {{user?: string}} [options] whose side is played; default: that of the first connection
   */
  constructor(recording, { user } = {}) {
    if (recording?.kind !== KIND || recording.format !== FORMAT) {
      throw new TypeError(`not a recording of wsctl record (${KIND}, format ${FORMAT})`);
    }
    const { connections, events } = recording;
    this.#user = user ?? connections[0]?.user_id;
    const own = connections.filter(({ user_id: id }) => id === this.#user);
    if (own.length === 0) throw new RangeError(`${this.#user} is not in the recording`);
    const played = inTurn(own, events);
    this.#asked = commandsOf(played);
    this.#greetings = played.filter(({ type, frame }) => type === ESTABLISHED && frame);
    this.#script = played.flatMap(scriptOf);
  }

  /** The user whose side is played. */
  get user() {
    return this.#user;
  }

  /** How many pushes and closes are still to be played. */
  get left() {
    return this.#script.length;
  }

  /** A class for the option `WebSocket` of a client that your application makes itself. */
  get WebSocket() {
    const replay = this;
    return class extends FakeWebSocket {
      constructor() {
        super();
        queueMicrotask(() => replay.#connect(this));
      }
    };
  }

  /**
   * A client of the recorded user, which reconnects and acknowledges without waiting.
   *
   * @param {object} [options]
   */
  client(options = {}) {
    return new WsClient({
      url: "http://replay.test",
      token: this.#user,
      WebSocket: this.WebSocket,
      minDelayMs: 0,
      maxDelayMs: 0,
      receiptDelayMs: 0,
      shareTabs: false,
      ...options,
    });
  }

  /**
   * Play the next pushes and closes, and wait until they have arrived. Returns the last push.
   *
   * @param {number} [count]
   */
  async step(count = 1) {
    let last = null;
    for (let played = 0; played < count && this.#script.length > 0; played++) {
      last = await this.#next(this.#script.shift());
    }
    await this.#idle();
    return last;
  }

  /**
   * Play up to the next push of a type, or for which the function is true, and return it; null:
   * there is none any more.
   *
   * @param {string | ((push: any) => boolean)} wanted
   */
  async until(wanted) {
    const isWanted = typeof wanted === "string" ? ({ type }) => type === wanted : wanted;
    while (this.#script.length > 0) {
      const push = await this.#next(this.#script.shift());
      if (push !== null && isWanted(push)) {
        await this.#idle();
        return push;
      }
    }
    await this.#idle();
    return null;
  }

  /**
   * Play all that is left. Without a speed at once; 1 is as it was, 2 twice as fast.
   *
   * @param {{speed?: number}} [options]
   */
  async play({ speed = Infinity } = {}) {
    let before = this.#script[0]?.at ?? 0;
    while (this.#script.length > 0) {
      const pause = (this.#script[0].at - before) / speed;
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#script.length === 0) break; // another call has played the rest meanwhile
      const entry = this.#script.shift();
      before = entry.at;
      await this.#next(entry);
    }
    await this.#idle();
  }

  async #next({ push, close }) {
    const socket = this.#socket ?? (await new Promise((resolve) => (this.#connected = resolve)));
    if (close === undefined) {
      socket.deliver(JSON.stringify(push));
      return push;
    }
    this.#socket = null;
    socket.end(close.code, close.reason ?? "");
    return null;
  }

  async #idle() {
    for (let turn = 0; turn < TURNS; turn++) await null;
  }

  #connect(socket) {
    if (socket.readyState !== CONNECTING) return;
    socket.open();
    socket.received = (text) => this.#hear(socket, JSON.parse(text));
    socket.closed = () => {
      if (this.#socket === socket) this.#socket = null;
    };
    socket.deliver(JSON.stringify(this.#greeting()));
    this.#socket = socket;
    this.#connected?.(socket);
    this.#connected = null;
  }

  #greeting() {
    const recorded = this.#greetings.length > 1 ? this.#greetings.shift() : this.#greetings[0];
    const time = new Date().toISOString();
    const usual = {
      type: ESTABLISHED,
      connection_id: "conn_replay",
      user_id: this.#user,
      session_id: null,
      heartbeat_interval: 30,
      heartbeat_timeout: 60,
      server_time: time,
      inbox: { epoch: "replay", offset: 0, pending: 0 },
      organization_id: null,
      organization: null,
      protocol: "wsserver.v1",
      max_message_bytes: 65_536,
      timestamp: time,
    };
    return { ...usual, ...recorded?.frame };
  }

  #hear(socket, command) {
    const { ref, ...fields } = command;
    if (fields.type === "pong") return;
    this.commands.push(fields);
    const reply = this.#recorded(fields) ?? this.#usual(fields);
    socket.deliver(JSON.stringify({ ...reply, ref }));
  }

  /** The recorded reply to the next command of this type, in the same session if it has one. */
  #recorded({ type, session_id: session }) {
    const index = this.#asked.findIndex(
      ({ command }) => command.type === type && command.session_id === session,
    );
    return index < 0 ? undefined : this.#asked.splice(index, 1)[0].reply;
  }

  /** The reply to a command that the recorded client did not send, or not so often. */
  #usual({ type, session_id: session, data, streams = {} }) {
    const answers = {
      __proto__: null,
      ping: () => ({ type: "pong", data, server_time: new Date().toISOString() }),
      join_session: () => ({ type: "session_joined", ...this.#joined(session) }),
      leave_session: () => ({ type: "session_left", session_id: session, user_id: this.#user }),
      presence: () => ({ type: "presence", session_id: session, users: [] }),
      history: () => ({ type: "history", messages: [], has_more: false, ...this.#place(session) }),
      conversations: () => ({
        ...{ type: "conversations", conversations: [], unread_total: 0, next_cursor: null },
      }),
      resume: () => ({
        type: "resumed",
        streams: Object.fromEntries(Object.entries(streams).map(([name, at]) => [name, here(at)])),
      }),
      send_message: () => refusal("not_recorded", "the recorded client has not sent this"),
    };
    return answers[type]?.() ?? { type: "ack" };
  }

  #joined(session) {
    const who = { session_id: session, user_id: this.#user };
    return { ...who, ...this.#place(session), recovered: true, messages: [], users: [] };
  }

  /** The position of a session before the next recorded push of it. */
  #place(session) {
    const isOf = ({ push }) => push?.stream === SESSION + session && push.offset !== undefined;
    const next = this.#script.find(isOf)?.push;
    return { epoch: next?.epoch ?? "replay", offset: (next?.offset ?? 1) - 1 };
  }
}

function here({ epoch, offset }) {
  return { recovered: true, epoch, offset, messages: [] };
}

/** The events of one connection after the other: of those that were open together, the first. */
function inTurn(connections, events) {
  const played = [];
  let from = "";
  const times = [...connections].sort((a, b) => (a.opened_at < b.opened_at ? -1 : 1));
  for (const { connection_id: id } of times) {
    const own = events.filter(({ connection }) => connection === id);
    if (own.length === 0 || own[0].at < from) continue;
    played.push(...own);
    if (own.at(-1).type !== "close") break; // open until the end
    from = own.at(-1).at;
  }
  return played;
}

/** Commands with their replies. */
function commandsOf(events) {
  const replies = new Map();
  for (const { dir, connection, frame } of events) {
    if (dir === "in" && frame?.ref !== undefined) {
      replies.set(JSON.stringify([connection, frame.ref]), frame);
    }
  }
  return events
    .filter(({ dir, frame }) => dir === "out" && frame?.ref !== undefined)
    .map(({ connection, frame }) => ({
      command: frame,
      reply: replies.get(JSON.stringify([connection, frame.ref])),
    }))
    .filter(({ reply }) => reply !== undefined);
}

/** What an event of a recording is played as: nothing, a push, or the end of the connection. */
function scriptOf({ at: time, dir, type, frame, code, reason }) {
  const at = Date.parse(time);
  if (dir === "client") {
    return type === "close" && !OWN_CLOSES.has(code) ? [{ at, close: { code, reason } }] : [];
  }
  const isPush = dir === "in" && frame && frame.ref === undefined;
  return isPush && type !== ESTABLISHED && type !== "ping" ? [{ at, push: frame }] : [];
}
