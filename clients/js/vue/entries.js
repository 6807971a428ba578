/** The messages of a session as a list shows them: those that are kept, and after them those being sent. */

import { shallowReactive } from "vue";

export class Entries {
  #limit; // of messages that are held; older ones can be loaded again
  #kept = []; // by offset
  #pending = []; // own ones that have not come back
  #byId = new Map();
  #loaded = 0; // how many of `kept` were loaded on demand, beyond the limit
  #unread = new Set();
  #read = new Map(); // user id -> offset up to which that user has read
  lastOffset = 0; // of what was shown
  userId; // whose list this is

  constructor(limit) {
    this.#limit = limit;
  }

  get unread() {
    return this.#unread.size;
  }

  get all() {
    return [...this.#kept, ...this.#pending];
  }

  /** The offset of the first message, or null. */
  get firstOffset() {
    return this.#kept[0]?.offset ?? null;
  }

  get(id) {
    return this.#byId.get(id);
  }

  clear() {
    this.#kept = [];
    this.#read.clear();
    this.#pending = [];
    this.#forget();
  }

  /** There was a gap: begin anew, with what is being sent. */
  clearKept() {
    this.#kept = [];
    this.#forget();
    for (const entry of this.#pending) if (entry.id !== null) this.#byId.set(entry.id, entry);
  }

  #forget() {
    this.#byId.clear();
    this.#loaded = this.lastOffset = 0;
    this.#unread.clear();
  }

  /**
   * A message has come, live or with the history; what is here already stays as it is.
   *
   * @param {object} push
   * @param {{isLive: boolean, isLoaded?: boolean}} how
   */
  add(push, { isLive, isLoaded = false }) {
    const isShown = typeof this.#byId.get(push.id)?.offset === "number"; // else it waits in `pending`
    if (push.type !== "new_message" || isShown) return;
    const { message, offset } = push;
    const { client_message_id: ownKey } = message;
    const isOwn = message.sender !== undefined && message.sender.user_id === this.userId;
    const waiting = isOwn ? this.#pending.find(({ key }) => key === ownKey) : undefined;
    const entry = waiting ?? entryOf(isOwn && ownKey ? ownKey : push.id);
    Object.assign(entry, { id: push.id, message, offset: offset ?? Infinity, isOwn });
    this.lastOffset = Math.max(this.lastOffset, offset ?? 0);
    const isNews = this.#read.has(this.userId) ? offset > this.#read.get(this.userId) : isLive;
    entry.isUnread = isNews && !isOwn && !message.deleted;
    if (entry.isUnread) this.#unread.add(entry);
    if (entry.status === "sending" || entry.status === "failed") entry.status = "sent";
    entry.error = null;
    if (waiting) this.#pending = this.#pending.filter((each) => each !== waiting);
    this.#byId.set(push.id, entry);
    let index = this.#kept.length;
    while (index > 0 && this.#kept[index - 1].offset > entry.offset) index -= 1;
    this.#kept.splice(index, 0, entry);
    if (isLoaded) this.#loaded += 1;
    if (!isOwn) return;
    for (const [userId, upTo] of this.#read) if (offset <= upTo) readBy(entry, userId);
    if (isLive) this.readUpTo(this.userId, offset); // who writes has read
  }

  /** A user has read everything up to an offset; also this user, maybe on another device. */
  readUpTo(userId, offset) {
    if (typeof offset !== "number" || offset <= (this.#read.get(userId) ?? -1)) return;
    this.#read.set(userId, offset);
    if (userId === this.userId) {
      this.takeUnread(offset);
      return;
    }
    for (let index = this.#kept.length - 1; index >= 0; index--) {
      const entry = this.#kept[index];
      if (!entry.isOwn || entry.offset > offset) continue;
      if (entry.readBy.includes(userId)) break; // and with it those before
      readBy(entry, userId);
    }
  }

  /** A message was edited, or deleted: its newest version. */
  change({ message }) {
    const entry = this.#byId.get(message.id);
    if (entry === undefined) return;
    entry.message = message;
    if (!message.deleted) return;
    entry.isUnread = false;
    this.#unread.delete(entry);
  }

  /** Let go of the oldest messages beyond the limit; true: there were some. */
  trim() {
    const surplus = this.#kept.length - this.#loaded - this.#limit;
    if (surplus <= 0) return false;
    // Some more, so that this is not done for every message.
    const gone = this.#kept.splice(0, surplus + this.#loaded + Math.floor(this.#limit / 10));
    this.#loaded = 0;
    for (const entry of gone) {
      this.#byId.delete(entry.id);
      this.#unread.delete(entry);
    }
    return true;
  }

  /** A message of one's own is about to be sent. */
  begin(message) {
    const entry = entryOf(message.client_message_id);
    Object.assign(entry, { message, isOwn: true });
    this.#pending = [...this.#pending, entry];
    return entry;
  }

  /** The server has it; its push may have come before, or is still to come. */
  acknowledged(entry, id) {
    entry.id = id;
    if (!this.#byId.has(id)) this.#byId.set(id, entry); // for its statuses
    if (entry.status === "sending") entry.status = "sent";
  }

  discard(entry) {
    this.#pending = this.#pending.filter((each) => each !== entry);
  }

  /** The first one that is unread, or null. */
  get firstUnread() {
    let first = null;
    for (const entry of this.#unread)
      if (first === null || entry.offset < first.offset) first = entry;
    return first;
  }

  /** What is unread up to an offset, which it is no longer. */
  takeUnread(upTo = Infinity) {
    const taken = [...this.#unread].filter(({ offset }) => offset <= upTo);
    for (const entry of taken) {
      entry.isUnread = false;
      this.#unread.delete(entry);
    }
    return taken;
  }

  /** How far a message of one's own has come with somebody. */
  progress({ message_id: messageId, status, user_id: userId }) {
    const entry = this.#byId.get(messageId);
    if (!entry?.isOwn) return;
    if (status === "read") readBy(entry, userId);
    if (status !== "delivered" || entry.deliveredTo.includes(userId)) return;
    entry.deliveredTo = [...entry.deliveredTo, userId];
    if (entry.status === "sent") entry.status = status;
  }
}

function readBy(entry, userId) {
  if (userId === entry.message.sender?.user_id || entry.readBy.includes(userId)) return;
  entry.readBy = [...entry.readBy, userId];
  entry.status = "read";
}

function entryOf(key) {
  return shallowReactive({
    key,
    id: null,
    message: null,
    offset: null,
    status: "sending",
    error: null,
    isOwn: false,
    isUnread: false,
    deliveredTo: [],
    readBy: [],
  });
}
