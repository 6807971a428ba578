/** Notifications: pop-ups at the edge of the page, and a centre with the latest ones. */

import { defineComponent, h, onBeforeUnmount, onMounted, ref, useId } from "vue";

import { useTexts } from "../locale.js";
import { useNotifications } from "../notifications.js";
import { later } from "./later.js";

const POPUPS = 4; // at once; the centre has the others, too
const URGENT = new Set(["error", "urgent"]);
const Panel = later(async () => (await import("./notification-panel.js")).panelOf(useTexts));

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
    const { popups, unread, dismiss, hold, release, markRead } = feed;
    const { t, moment } = useTexts();
    const isOpen = ref(false);
    const root = ref(null);
    const bell = ref(null);
    const panel = ref(null); // null also while it is being loaded
    const id = useId();

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

    const cross = (onClick, name = t("close")) =>
      h("button", { type: "button", class: "ws-close", "aria-label": name, onClick }, "×");

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

    function center() {
      const count = unread.value;
      const name =
        count > 0 ? `${t("notifications")}, ${t("unread", { n: count })}` : t("notifications");
      const toggle = () => (isOpen.value ? close() : (isOpen.value = true));
      const button = {
        ref: bell,
        type: "button",
        class: "ws-bell",
        "aria-label": name,
        "aria-expanded": isOpen.value,
        "aria-controls": panel.value ? id : undefined,
        onClick: toggle,
      };
      const badge =
        count > 0
          ? h("span", { class: "ws-badge", "aria-hidden": "true" }, count > 99 ? "99+" : count)
          : null;
      const attributes = { ref: panel, id, feed, body, cross, onClose: () => close() };
      return [
        h("button", button, slots.bell?.({ unread: count }) ?? [h(BellIcon), badge]),
        isOpen.value ? h(Panel, attributes, slots) : null,
      ];
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
