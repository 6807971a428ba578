/** The messages of a session as a list shows them: those that are kept, and after them those being sent. */

import { shallowReactive } from "vue";

export class Entries {
  #limit; // of messages that are held; older ones can be loaded again
  #kept = []; // by offset
  #pending = []; // own ones that have not come back
  #byId = new Map();
  #loaded = 0; // how many of `kept` were loaded on demand, beyond the limit
  #unread = new Set();

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
    this.#loaded = 0;
    this.#unread.clear();
  }

  /**
   * A message has come, live or with the history; what is here already stays as it is.
   *
   * @param {object} push
   * @param {{userId: string | undefined, isUnread: boolean, isLoaded?: boolean}} how
   */
  add(push, { userId, isUnread, isLoaded = false }) {
    const isShown = typeof this.#byId.get(push.id)?.offset === "number"; // else it waits in `pending`
    if (push.type !== "new_message" || isShown) return;
    const { message, offset } = push;
    const { client_message_id: ownKey } = message;
    const isOwn = message.sender !== undefined && message.sender.user_id === userId;
    const waiting = isOwn ? this.#pending.find(({ key }) => key === ownKey) : undefined;
    const entry = waiting ?? entryOf(isOwn && ownKey ? ownKey : push.id);
    Object.assign(entry, { id: push.id, message, offset: offset ?? Infinity, isOwn });
    entry.isUnread = isUnread && !isOwn && !message.deleted;
    if (entry.isUnread) this.#unread.add(entry);
    if (entry.status === "sending" || entry.status === "failed") entry.status = "sent";
    entry.error = null;
    if (waiting) this.#pending = this.#pending.filter((each) => each !== waiting);
    this.#byId.set(push.id, entry);
    let index = this.#kept.length;
    while (index > 0 && this.#kept[index - 1].offset > entry.offset) index -= 1;
    this.#kept.splice(index, 0, entry);
    if (isLoaded) this.#loaded += 1;
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

  /** The ids of what is unread, which it is no longer. */
  takeUnread() {
    const unread = [...this.#unread];
    this.#unread.clear();
    for (const entry of unread) entry.isUnread = false;
    return unread.map(({ id }) => id);
  }

  /** How far a message of one's own has come with somebody. */
  progress({ message_id: messageId, status, user_id: userId }) {
    const entry = this.#byId.get(messageId);
    const list = { __proto__: null, delivered: "deliveredTo", read: "readBy" }[status];
    if (!entry?.isOwn || !list || entry[list].includes(userId)) return;
    entry[list] = [...entry[list], userId];
    if (status === "read" || entry.status === "sent") entry.status = status;
  }
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
