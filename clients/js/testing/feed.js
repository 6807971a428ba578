/** Notifications of users in the server in memory: the feed, and what users have chosen. */

import { refusal } from "./messages.js";

const PAGE = 50;
const OTHERS = "*";

export class Feed {
  #state;
  #entries = new Map(); // user -> entries, newest first, each with the id of its message
  #chosen = new Map(); // user -> preferences

  constructor(state) {
    this.#state = state;
  }

  #of(userId) {
    if (!this.#entries.has(userId)) this.#entries.set(userId, []);
    return this.#entries.get(userId);
  }

  #unread(userId) {
    return this.#of(userId).filter((each) => each.read_at === null && each.archived_at === null)
      .length;
  }

  add(userId, { id: messageId, notification }) {
    const times = { template: null, read_at: null, archived_at: null };
    this.#of(userId).unshift({ ...notification, ...times, messageId });
    this.#tell(userId, [], {});
  }

  #tell(userId, ids, marked) {
    const push = { type: "notifications_changed", notification_ids: ids, ...marked };
    const followers = this.#state.of(userId).filter((each) => each.followsNotifications);
    this.#state.send({ ...push, unread: this.#unread(userId) }, followers);
  }

  /** The command `notifications`. */
  list(connection, { limit = PAGE, cursor, archived = false, unread = false }) {
    const { userId } = connection;
    connection.followsNotifications = true;
    const listed = this.#of(userId).filter(
      (each) => (each.archived_at !== null) === archived && !(unread && each.read_at !== null),
    );
    const start = cursor ? listed.findIndex(({ id }) => id === cursor) + 1 : 0;
    const page = listed.slice(start, start + limit);
    return {
      type: "notifications",
      user_id: userId,
      notifications: page.map(({ messageId, ...shown }) => shown),
      unread: this.#unread(userId),
      total: listed.length,
      next_cursor: start + limit < listed.length ? page.at(-1).id : null,
    };
  }

  /** The command `mark_notifications`. */
  mark({ userId }, { ids, up_to: upTo, read, archived }) {
    const isOne = (ids === undefined) !== (upTo === undefined);
    if (!isOne) return refusal("bad_request", "ids: required, or up_to", { field: "ids" });
    if (read === undefined && archived === undefined) {
      return refusal("bad_request", "read: required, or archived", { field: "read" });
    }
    const all = this.#of(userId);
    const first = all.findIndex(({ id }) => id === upTo);
    const meant = ids ? all.filter(({ id }) => ids.includes(id)) : all.slice(first < 0 ? 1e9 : first);
    const changed = this.#change(userId, meant, { read, archived });
    return { type: "ack", changed, unread: this.#unread(userId) };
  }

  /** The command `read`, by ids of notifications or of their messages. */
  read(userId, ids) {
    const meant = this.#of(userId).filter(
      ({ id, messageId }) => ids.includes(id) || ids.includes(messageId),
    );
    this.#change(userId, meant, { read: true });
  }

  #change(userId, entries, { read, archived }) {
    const wanted = Object.entries({ read_at: read, archived_at: archived }).filter(
      ([, is]) => is !== undefined,
    );
    const changed = entries.filter((each) => wanted.some(([name, is]) => (each[name] !== null) !== is));
    for (const each of changed) {
      for (const [name, is] of wanted) {
        if ((each[name] !== null) !== is) each[name] = is ? this.#state.time() : null;
      }
      if (read) this.#state.inbox(userId).delete(each.messageId);
    }
    const marked = {};
    if (read !== undefined) marked.read = read;
    if (archived !== undefined) marked.archived = archived;
    if (changed.length > 0) this.#tell(userId, changed.map(({ id }) => id), marked);
    return changed.length;
  }

  /** The command `preferences`. */
  preferences({ userId }, { channels, ...rest }) {
    const empty = { channels: {}, quiet_hours: null, daily_digest: null };
    const after = { ...(this.#chosen.get(userId) ?? empty), ...rest };
    if (channels === null) after.channels = {};
    else after.channels = merged(after.channels, channels ?? {});
    delete after.ref;
    delete after.type;
    this.#chosen.set(userId, after);
    const from = after.quiet_hours === null ? null : "preferences";
    const templates = Object.keys(after.channels).filter((name) => name !== OTHERS);
    return { type: "preferences", user_id: userId, ...after, quiet_hours_from: from, templates };
  }
}

/** Switches after a change: null removes. */
function merged(before, changes) {
  const after = { ...before };
  for (const [key, switches] of Object.entries(changes)) {
    const all = { ...after[key], ...switches };
    const kept = Object.entries(all).filter(([, is]) => is !== null);
    delete after[key];
    if (switches !== null && kept.length > 0) after[key] = Object.fromEntries(kept);
  }
  return after;
}
