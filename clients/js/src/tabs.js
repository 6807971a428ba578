/**
 * One connection for all tabs of a user. The tab that holds a Web Lock, the leader, has the WebSocket;
 * the others send their commands to it over a BroadcastChannel and get from it what the server says.
 *
 * Each tab remains a client of its own: it has its own positions, outbox and sessions, and talks over
 * a `TabSocket` as if that were a WebSocket. When the leader goes, the browser gives its lock to
 * another tab, and every tab connects again, from its own positions.
 */

import { BAD_REQUEST, HANDED_OVER, RESTART } from "./closing.js";
import { Hub } from "./hub.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;
const PATIENCE_MS = 2000; // for a leader that does not answer: its tab may hang
/** Claims in which two tokens of one user differ. */
const VOLATILE = new Set(["exp", "iat", "nbf", "jti"]);

/**
 * The name under which tabs share a connection: the same for tokens of the same user with the same
 * rights. Null: the token does not show whose it is, or the browser keeps the tabs apart.
 *
 * @param {string} address
 * @param {string | null} token
 * @param {string | null} user a name for the user in place of a token
 * @returns {Promise<string | null>}
 */
export async function shareName(address, token, user) {
  let who;
  try {
    who = user ?? claimsOf(token);
    // Both fail where the browser keeps site data from a page, as by a setting or in a sandbox.
    await navigator.locks.query();
    new BroadcastChannel("wsserver").close();
  } catch {
    return null;
  }
  const bytes = new TextEncoder().encode(JSON.stringify([address, who]));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `wsserver:${Array.from(digest.subarray(0, 16), hex).join("")}`;
}

/** What a token says, without what differs between two tokens of one user. */
function claimsOf(token) {
  const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const text = new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  return Object.entries(JSON.parse(text))
    .filter(([name]) => !VOLATILE.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** What a tab uses in place of a WebSocket. */
class TabSocket {
  readyState = CONNECTING;
  onmessage = null;
  onclose = null;
  onerror = null;
  #tab;
  /** Its name among the tabs; what is for a former socket of the tab is not for this one. */
  id;

  constructor(tab, id) {
    this.#tab = tab;
    this.id = id;
  }

  send(text) {
    this.#tab.send(this, text);
  }

  close(code, reason) {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#tab.closed(this, code, reason);
  }
}

/** This client among the tabs. */
export class Tab {
  #id = hexId();
  #name;
  #wake; // () => void: another tab waits, or finds that the connection does not answer
  #channel;
  #leader = null; // the id of the tab with the connection, once it has been heard of
  #hub = null; // ours, while we lead
  #socket = null; // what our client talks over
  #sockets = 0; // counts them
  #connect = null; // () => WebSocket
  #left = new AbortController();
  #isAlive = false; // this tab's own lock is held
  #stepDown = () => {};
  #timer = 0;
  #watched = new Set(); // tabs of which the end is waited for, while we lead

  constructor(name, wake) {
    this.#name = name;
    this.#wake = wake;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    // Held for as long as this tab lives: the leader waits for it, and learns so of a tab that died.
    this.#hold(this.#lifeOf(this.#id), { signal: this.#left.signal }, (end) => {
      this.#left.signal.addEventListener("abort", end);
      this.#isAlive = true;
      if (this.#socket?.readyState === CONNECTING) this.#ask();
    });
    this.#queue({});
    // A page that is frozen, or kept for the back button, must not keep the connection.
    const leave = () => this.leave();
    const { signal } = this.#left;
    globalThis.addEventListener?.("pagehide", leave, { signal });
    globalThis.document?.addEventListener("freeze", leave, { signal });
  }

  get name() {
    return this.#name;
  }

  get hasLeft() {
    return this.#left.signal.aborted;
  }

  /**
   * A socket over the shared connection.
   *
   * @param {() => WebSocket} connect opens a WebSocket, should this tab be the leader
   */
  open(connect) {
    this.#socket = new TabSocket(this, `${this.#id}.${++this.#sockets}`);
    this.#connect = connect;
    if (this.#hub) this.#attachToOwn();
    else this.#ask();
    return this.#socket;
  }

  /** Leave the other tabs; if this one leads, the connection is closed and another tab takes over. */
  leave(code = 1000, reason = "") {
    if (this.hasLeft) return;
    if (this.#hub === null && this.#socket) this.#post({ kind: "detach", id: this.#socket.id });
    clearTimeout(this.#timer);
    this.#hub?.close(code, reason);
    this.#hub = null;
    this.#left.abort();
    this.#stepDown();
    this.#channel.close();
    this.#end(RESTART, HANDED_OVER);
  }

  // For the socket

  send(socket, text) {
    if (socket !== this.#socket) return;
    if (this.#hub) this.#hub.receive(socket.id, text);
    else this.#post({ kind: "command", id: socket.id, text });
  }

  closed(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#timer);
    // The leader's client gives up a connection that is dead for all.
    if (this.#hub) this.#hub.close(code, reason);
    else this.#post({ kind: "detach", id: socket.id, suspect: code === undefined });
  }

  // Leading

  #lifeOf(id) {
    return `${this.#name}/${id}`;
  }

  /** Hold a lock until `free`, which `held` is given, is called. */
  #hold(name, options, held) {
    return navigator.locks
      .request(name, options, () => new Promise((resolve) => held(() => resolve())))
      .catch(() => false);
  }

  /** Wait for our turn to lead. */
  #queue(options) {
    const held = (free) => {
      if (this.#left.signal.aborted) free();
      else this.#lead(free);
    };
    const isSteal = options.steal === true; // which can neither wait nor be aborted
    const signal = isSteal ? {} : { signal: this.#left.signal };
    this.#hold(this.#name, { ...options, ...signal }, held).then((isStolen) => {
      if (isStolen === false && this.#hub) this.#deposed();
    });
  }

  #lead(free) {
    if (this.#hub) {
      free(); // the lock that was waited for before it was stolen
      return;
    }
    clearTimeout(this.#timer);
    this.#stepDown = free;
    this.#leader = this.#id;
    this.#hub = new Hub(this.#id, (to, message) => this.#tell(to, message));
    this.#post({ kind: "leader" });
    const socket = this.#socket;
    if (socket === null) return;
    if (socket.readyState !== CONNECTING) {
      this.#end(RESTART, HANDED_OVER); // it was the former leader's
      return;
    }
    try {
      this.#attachToOwn();
    } catch {
      this.#end(BAD_REQUEST, "no WebSocket");
    }
  }

  #attachToOwn() {
    const socket = this.#connect();
    this.#hub.attach(this.#socket.id);
    this.#hub.open(socket);
  }

  /** Another tab has taken the lock away, as this one did not answer. */
  #deposed() {
    this.#hub.close(1000, "");
    this.#hub = null;
    this.#watched.clear();
    this.#end(RESTART, HANDED_OVER);
    this.#queue({});
  }

  /** To tabs, from the hub: text of the server, or the end of the connection. */
  #tell(ids, message) {
    const others = ids.filter((id) => id !== this.#socket?.id);
    if (others.length > 0) this.#post({ ...message, to: others });
    if (others.length < ids.length) this.#take(message);
  }

  // Following

  /** Ask the leader for a place. */
  #ask() {
    if (!this.#isAlive) return;
    this.#post({ kind: "attach", id: this.#socket.id });
    clearTimeout(this.#timer);
    const steal = () => this.#queue({ steal: true });
    this.#timer = setTimeout(steal, PATIENCE_MS * (1 + Math.random() / 2));
  }

  #post(message) {
    this.#channel.postMessage({ from: this.#id, ...message });
  }

  #hear({ from, to, kind, ...message }) {
    if (to !== undefined) {
      if (to.includes(this.#socket?.id)) this.#take({ kind, ...message });
    } else if (this.#hub) this.#serve(from, kind, message);
    else if (kind === "leader") this.#follow(from);
  }

  /** As the leader. */
  #serve(from, kind, { id, text, suspect }) {
    if (kind === "attach") {
      this.#post({ to: [id], kind: "queued" });
      this.#hub.attach(id);
      this.#watch(from);
      if (!this.#hub.isOpen) this.#wake();
    } else if (kind === "command") this.#hub.receive(id, text);
    else if (kind === "detach") {
      this.#hub.detach(id);
      if (suspect) this.#wake();
    }
  }

  /** Wait for the end of a tab. */
  #watch(id) {
    if (this.#watched.has(id)) return;
    this.#watched.add(id);
    const hub = this.#hub;
    this.#hold(this.#lifeOf(id), { signal: this.#left.signal }, (free) => {
      this.#watched.delete(id);
      hub.detachTab(id);
      free();
    });
  }

  /** Another tab leads now. */
  #follow(leader) {
    const isNew = this.#leader !== leader;
    this.#leader = leader;
    if (this.#socket === null) return;
    if (this.#socket.readyState === CONNECTING) this.#ask();
    else if (isNew) this.#end(RESTART, HANDED_OVER);
  }

  #take({ kind, text, code, reason }) {
    if (kind === "queued") clearTimeout(this.#timer);
    else if (kind === "close") this.#end(code, reason);
    else if (kind === "text" && this.#socket) {
      clearTimeout(this.#timer);
      this.#socket.readyState = OPEN;
      this.#socket.onmessage?.({ data: text });
    }
  }

  #end(code, reason) {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.readyState = CLOSED;
    socket.onclose?.({ code, reason });
  }
}

function hex(byte) {
  return byte.toString(16).padStart(2, "0");
}

function hexId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), hex).join("");
}
