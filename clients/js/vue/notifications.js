/** Notifications: those that pop up now, and the latest ones. */

import { computed, onScopeDispose, shallowReactive, shallowRef } from "vue";

import { on, useWsClient } from "./client.js";

const POPUP_MS = 6000;
const LIMIT = 100;
const LINK = /^(\/(?![/\\])|https?:\/\/)/i;

/** Notifications: those that pop up now, and the latest ones, newest first. */
export function useNotifications({
  limit = LIMIT,
  popupMs = POPUP_MS,
  client = useWsClient(),
} = {}) {
  const notifications = shallowRef([]);
  const popups = shallowRef([]);
  const timers = new Map(); // entry -> timer of its end, of those that close by themselves
  const unread = computed(() =>
    notifications.value.reduce((n, each) => n + (each.isRead ? 0 : 1), 0),
  );

  on(client, "notification", ({ notification }) => {
    const { action_url: url } = notification;
    const entry = shallowReactive({
      ...notification,
      action_url: typeof url === "string" && LINK.test(url) ? url : null,
      isRead: false,
    });
    notifications.value = [entry, ...notifications.value].slice(0, limit);
    popups.value = [...popups.value, entry];
    if (notification.auto_close) startTimer(entry);
  });
  onScopeDispose(() => timers.forEach((timer) => clearTimeout(timer)));

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

  /** The user has seen it: on all devices. */
  function markRead(...entries) {
    for (const entry of entries.length > 0 ? entries : notifications.value) {
      if (entry.isRead) continue;
      entry.isRead = true;
      client.markRead(entry.id);
    }
    notifications.value = [...notifications.value];
  }

  return { notifications, popups, unread, dismiss, hold, release, markRead };
}
