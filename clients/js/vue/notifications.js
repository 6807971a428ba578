/** Notifications: those that pop up now, and the user's feed, which survives reloads. */

import { onScopeDispose, ref, shallowReactive, shallowRef } from "vue";

import { on, useWsClient } from "./client.js";

const POPUP_MS = 6000;
const LIMIT = 100;
const LINK = /^(\/(?![/\\])|https?:\/\/)/i;

/** Notifications: those that pop up now, and the user's feed, newest first; in step on all devices. */
export function useNotifications({
  limit = LIMIT,
  popupMs = POPUP_MS,
  client = useWsClient(),
} = {}) {
  const notifications = shallowRef([]);
  const popups = shallowRef([]);
  const unread = ref(0);
  const hasMore = ref(false);
  const isLoading = ref(false);
  const error = shallowRef(null);
  const timers = new Map(); // entry -> timer of its end, of those that close by themselves
  let held = limit; // so many are in the list at most
  let cursor = null; // of what follows the list; null: from the beginning
  let turn = 0; // the latest loading of the first page
  let came = new Set(); // ids that were pushed since it began
  let userId = null; // whose they are

  on(client, "ws:open", load);
  on(client, "notification", ({ notification }) => {
    came.add(notification.id);
    if (notifications.value.some(({ id }) => id === notification.id)) return;
    const entry = entryOf(notification);
    unread.value += 1; // until the server tells the number
    notifications.value = [entry, ...notifications.value];
    if (notifications.value.length > held) {
      notifications.value = notifications.value.slice(0, held);
      cursor = null;
      hasMore.value = true;
    }
    popups.value = [...popups.value, entry];
    if (popups.value.length > LIMIT) dismiss(popups.value[0]); // nobody looks at this page
    if (notification.auto_close) startTimer(entry);
  });
  on(client, "notifications_changed", ({ notification_ids: ids, read, archived, unread: count }) => {
    unread.value = count;
    const meant = new Set(ids);
    const isMeant = ({ id }) => meant.has(id);
    if (read !== undefined) {
      for (const entry of notifications.value.filter(isMeant)) entry.isRead = read;
    }
    if (read || archived) popups.value.filter(isMeant).forEach(dismiss);
    if (archived) notifications.value = notifications.value.filter((each) => !isMeant(each));
    const isStale = notifications.value.filter(({ isRead }) => !isRead).length > count;
    if (archived === false || isStale) load();
  });
  onScopeDispose(() => timers.forEach((timer) => clearTimeout(timer)));
  if (client.state === "open") load();

  function entryOf(content) {
    const { action_url: url, read_at: at } = content;
    return shallowReactive({
      ...content,
      action_url: typeof url === "string" && LINK.test(url) ? url : null,
      isRead: typeof at === "string",
    });
  }

  /** The first page, in place of the list. */
  async function load() {
    const { user_id: id } = client.connection ?? {};
    if (id !== userId) {
      popups.value.forEach(dismiss);
      notifications.value = [];
      unread.value = 0;
      userId = id;
    }
    turn += 1;
    const mine = turn;
    came = new Set();
    const page = await ask(null);
    if (page === null || mine !== turn) return;
    const known = new Map(notifications.value.map((each) => [each.id, each]));
    const listed = page.notifications.map((each) => {
      const entry = known.get(each.id);
      return entry ? Object.assign(entry, { isRead: each.read_at !== null }) : entryOf(each);
    });
    const ids = new Set(page.notifications.map((each) => each.id));
    const fresh = notifications.value.filter((each) => came.has(each.id) && !ids.has(each.id));
    notifications.value = [...fresh, ...listed];
    unread.value = page.unread + fresh.length;
    held = Math.max(limit, notifications.value.length);
    follow(page);
  }

  async function ask(after) {
    isLoading.value = true;
    try {
      const page = await client.notifications({ limit: Math.min(limit, LIMIT), cursor: after });
      error.value = null;
      return page;
    } catch (failure) {
      if (failure.code !== "disconnected") error.value = failure; // `ws:open` loads
      return null;
    } finally {
      isLoading.value = false;
    }
  }

  function follow(page) {
    cursor = page.next_cursor;
    hasMore.value = cursor !== null;
  }

  /** Older ones, at the end of the list. */
  async function loadMore() {
    if (!hasMore.value || isLoading.value) return;
    const mine = turn;
    let added = [];
    do {
      const page = await ask(cursor);
      if (page === null || mine !== turn) return;
      const known = new Set(notifications.value.map(({ id }) => id));
      added = page.notifications.filter(({ id }) => !known.has(id));
      follow(page);
    } while (added.length === 0 && hasMore.value);
    notifications.value = [...notifications.value, ...added.map(entryOf)];
    held = Math.max(held, notifications.value.length);
  }

  function startTimer(entry) {
    clearTimeout(timers.get(entry));
    timers.set(entry, setTimeout(dismiss, popupMs, entry));
  }

  /** Take it off the pop-ups. */
  function dismiss(entry) {
    clearTimeout(timers.get(entry));
    timers.delete(entry);
    popups.value = popups.value.filter((each) => each !== entry);
  }

  /** Somebody reads it: it does not close by itself, until `release`. */
  function hold(entry) {
    clearTimeout(timers.get(entry));
  }

  function release(entry) {
    if (timers.has(entry)) startTimer(entry);
  }

  /** The user has seen these, or all, those that are not loaded too: on all devices. */
  function markRead(...entries) {
    const all = notifications.value;
    const some = (entries.length > 0 ? entries : all).filter(({ isRead }) => !isRead);
    for (const entry of some) entry.isRead = true;
    notifications.value = [...all];
    const ids = some.map(({ id }) => id);
    const tell = () => ids.length > 0 && client.markRead(ids); // also after a reconnect
    if (entries.length > 0) {
      unread.value = Math.max(0, unread.value - ids.length);
      tell();
    } else if (all.length > 0) {
      unread.value = 0;
      client.markNotifications({ upTo: all[0].id, read: true }).catch(tell);
    }
  }

  /** Take these out of the list, on all devices. */
  function archive(...entries) {
    const ids = entries.map(({ id }) => id);
    if (ids.length === 0) return;
    entries.forEach(dismiss);
    const left = entries.filter(({ isRead }) => !isRead).length;
    unread.value = Math.max(0, unread.value - left);
    notifications.value = notifications.value.filter(({ id }) => !ids.includes(id));
    client.markNotifications({ ids, archived: true }).catch(load);
  }

  return {
    ...{ notifications, popups, unread, hasMore, isLoading, error },
    ...{ dismiss, hold, release, markRead, archive, loadMore },
  };
}
