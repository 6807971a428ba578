/** Notifications: pop-ups at the edge of the page, and a centre with the latest ones. */

import { defineComponent, h, nextTick, onBeforeUnmount, onMounted, ref, useId } from "vue";

import { useTexts } from "../locale.js";
import { useNotifications } from "../notifications.js";

const POPUPS = 4; // at once; the centre has the others, too
const URGENT = new Set(["error", "urgent"]);

export const WsNotifications = defineComponent({
  name: "WsNotifications",
  props: {
    /** What `useNotifications` gave; default: its own. */
    notifications: { type: Object, default: null },
    popups: { type: Boolean, default: true },
    center: { type: Boolean, default: true },
  },
  emits: {
    /** A notification was chosen; `event.preventDefault()` keeps its link from being followed. */
    open: (entry, event) => Boolean(entry && event),
  },
  setup(props, { slots, emit }) {
    const feed = props.notifications ?? useNotifications();
    const { notifications, popups, unread, dismiss, hold, release, markRead } = feed;
    const { t, moment } = useTexts();
    const isOpen = ref(false);
    const root = ref(null);
    const panel = ref(null);
    const bell = ref(null);
    const id = useId();

    async function open() {
      isOpen.value = true;
      await nextTick();
      panel.value?.focus();
    }

    function close(hasFocus = true) {
      if (!isOpen.value) return;
      isOpen.value = false;
      if (hasFocus) bell.value?.focus();
    }

    const outside = ({ target }) => root.value?.contains(target) || close(false);
    onMounted(() => document.addEventListener("pointerdown", outside));
    onBeforeUnmount(() => document.removeEventListener("pointerdown", outside));

    function chosen(entry, event) {
      markRead(entry);
      dismiss(entry);
      emit("open", entry, event);
    }

    function body(entry) {
      const { title, message, action_url: url, timestamp } = entry;
      const onClick = (event) => chosen(entry, event);
      const heading = url
        ? h("a", { class: "ws-title", href: url, dir: "auto", onClick }, title || url)
        : h("span", { class: "ws-title", dir: "auto" }, title);
      return h("div", { class: "ws-body" }, [
        heading,
        message ? h("div", { class: "ws-text", dir: "auto" }, message) : null,
        h("time", { class: "ws-meta", datetime: timestamp }, moment(timestamp)),
      ]);
    }

    const cross = (onClick, name = "close") =>
      h("button", { type: "button", class: "ws-close", "aria-label": t(name), onClick }, "×");

    function archive(entry) {
      feed.archive(entry);
      panel.value?.focus(); // the button is gone
    }

    function popup(entry) {
      const attributes = {
        key: entry.id,
        class: "ws-popup",
        role: URGENT.has(entry.type) ? "alert" : "status",
        "data-type": entry.type,
        onPointerenter: () => hold(entry),
        onPointerleave: () => release(entry),
        onFocusin: () => hold(entry),
        onFocusout: () => release(entry),
      };
      const shut = () => dismiss(entry);
      return h(
        "div",
        attributes,
        slots.popup?.({ entry, dismiss: shut }) ?? [body(entry), cross(shut)],
      );
    }

    function item(entry) {
      const attributes = {
        key: entry.id,
        class: "ws-item",
        "data-type": entry.type,
        "data-read": entry.isRead,
      };
      const dot = h("button", {
        type: "button",
        class: "ws-unread",
        "aria-label": t("markRead"),
        title: t("markRead"),
        onClick: () => markRead(entry),
      });
      return h(
        "li",
        attributes,
        slots.item?.({ entry }) ?? [
          body(entry),
          entry.isRead ? null : dot,
          cross(() => archive(entry), "archive"),
        ],
      );
    }

    function center() {
      const count = unread.value;
      const name =
        count > 0 ? `${t("notifications")}, ${t("unread", { n: count })}` : t("notifications");
      const toggle = () => (isOpen.value ? close() : open());
      const button = {
        ref: bell,
        type: "button",
        class: "ws-bell",
        "aria-label": name,
        "aria-expanded": isOpen.value,
        "aria-controls": isOpen.value ? id : undefined,
        onClick: toggle,
      };
      const badge =
        count > 0
          ? h("span", { class: "ws-badge", "aria-hidden": "true" }, count > 99 ? "99+" : count)
          : null;
      return [
        h("button", button, slots.bell?.({ unread: count }) ?? [h(BellIcon), badge]),
        isOpen.value ? list() : null,
      ];
    }

    function list() {
      const all = notifications.value;
      const attributes = {
        ref: panel,
        id,
        class: "ws-panel",
        role: "dialog",
        tabindex: -1,
        "aria-label": t("notifications"),
      };
      const markAll = {
        type: "button",
        class: "ws-link",
        "aria-disabled": unread.value === 0,
        onClick: () => markRead(),
      };
      return h("div", attributes, [
        h("div", { class: "ws-head" }, [
          h("strong", t("notifications")),
          h("button", markAll, t("markAllRead")),
          cross(() => close()),
        ]),
        all.length > 0
          ? h("ul", { class: "ws-items" }, all.map(item))
          : h("div", { class: "ws-note" }, slots.empty?.() ?? t("noNotifications")),
        feed.hasMore.value
          ? h("button", { type: "button", class: "ws-link ws-more", onClick: feed.loadMore }, t("more"))
          : null,
      ]);
    }

    return () => {
      const escape = (event) => {
        if (event.key !== "Escape" || !isOpen.value) return;
        event.stopPropagation();
        close();
      };
      return h("div", { ref: root, class: "ws ws-notifications", onKeydown: escape }, [
        props.center ? center() : null,
        props.popups && !isOpen.value // the centre has them
          ? h("div", { class: "ws-popups" }, popups.value.slice(-POPUPS).map(popup))
          : null,
      ]);
    };
  },
});

const BellIcon = () =>
  h("svg", { viewBox: "0 0 24 24", class: "ws-icon", "aria-hidden": "true" }, [
    h("path", {
      d: "M12 22a2.2 2.2 0 0 0 2.2-2h-4.4A2.2 2.2 0 0 0 12 22zm7-6v-5a7 7 0 0 0-5.5-6.8V3.5a1.5 1.5 0 0 0-3 0v.7A7 7 0 0 0 5 11v5l-2 2v1h18v-1z",
    }),
  ]);
