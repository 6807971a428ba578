/** A message in a list. */

import { defineComponent, h, ref } from "vue";

import { useTexts } from "../locale.js";

const CUT = 2000; // characters of a long message that are shown at first
const CUT_LINES = 30;
const LINK = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}。，；：！？）】]/gi;
const TICKS = { sending: "○", sent: "✓", delivered: "✓✓", read: "✓✓", failed: "!" };

/** Text with its addresses as links; everything else stays text. */
export function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const { 0: address, index } of text.matchAll(LINK)) {
    if (index > end) parts.push(text.slice(end, index));
    const attributes = { href: address, target: "_blank", rel: "noopener noreferrer nofollow" };
    parts.push(h("a", attributes, address));
    end = index + address.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

/** The content of a message as text. */
export function textOf({ content }) {
  if (typeof content === "string") return content;
  return JSON.stringify(content, null, 2) ?? "";
}

export function nameOf({ username, user_id: userId } = {}) {
  return username || userId || "";
}

/** Where a long text is cut, or its length. */
function cutAt(text) {
  let end = Math.min(text.length, CUT);
  let at = -1;
  for (let line = 0; line < CUT_LINES; line++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) break;
  }
  if (at >= 0) end = Math.min(end, at);
  return /[\ud800-\udbff]/.test(text[end - 1] ?? "") ? end - 1 : end; // not within a character
}

/** One colour for each user, the same on all pages. */
function hueOf(id) {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}

export const Avatar = (props) => {
  const { sender } = props;
  const style = { "--ws-hue": hueOf(sender?.user_id ?? "") };
  const initial = [...nameOf(sender)][0]?.toUpperCase() ?? "?";
  return h("span", { class: "ws-avatar", style, "aria-hidden": "true" }, initial);
};
Avatar.props = ["sender"];

export const Row = defineComponent({
  name: "WsMessage",
  props: ["entry", "session", "day", "isFirst", "slots"],
  setup(props) {
    const { t, time } = useTexts();
    const isOpen = ref(false);

    function content({ message }) {
      const text = textOf(message);
      const end = isOpen.value ? text.length : cutAt(text);
      const isLong = cutAt(text) < text.length;
      const isText = typeof message.content === "string";
      const shown = text.slice(0, end) + (end < text.length ? "…" : "");
      const toggle = () => (isOpen.value = !isOpen.value);
      const attributes = { type: "button", class: "ws-link", onClick: toggle };
      return [
        h(
          isText ? "div" : "pre",
          { class: "ws-text", dir: "auto" },
          isText ? withLinks(shown) : shown,
        ),
        isLong ? h("button", attributes, t(isOpen.value ? "showLess" : "showAll")) : null,
      ];
    }

    function status(entry) {
      if (!entry.isOwn || entry.status === "failed") return null;
      const what = t(entry.status);
      const attributes = { class: "ws-ticks", role: "img", "aria-label": what, title: what };
      return h("span", { ...attributes, "data-status": entry.status }, TICKS[entry.status]);
    }

    function failure(entry) {
      const { session } = props;
      const button = (text, act) =>
        h("button", { type: "button", class: "ws-link", onClick: () => act(entry) }, text);
      return h("div", { key: "failed", class: "ws-failed" }, [
        h("span", { title: entry.error?.message }, t("failed")),
        button(t("retry"), session.retry),
        button(t("discard"), session.discard),
      ]);
    }

    return () => {
      const { entry, day, isFirst, slots } = props;
      const { message, isOwn } = entry;
      const own = { entry, message };
      const name = isOwn ? t("you") : nameOf(message.sender);
      const head = isFirst
        ? h("div", { key: "name", class: "ws-sender" }, [
            slots.sender ? slots.sender(own) : h("bdi", name),
          ])
        : h("span", { key: "name", class: "ws-hidden" }, name); // for screen readers, which read each by itself
      const bubble = h("div", { key: "bubble", class: "ws-bubble" }, [
        slots.content ? slots.content(own) : content(entry),
        h("div", { class: "ws-meta" }, [
          slots.meta?.(own),
          h("time", { datetime: message.created_at }, time(message.created_at)),
          status(entry),
        ]),
      ]);
      return [
        day
          ? h(
              "div",
              { key: "day", class: "ws-day" },
              slots.day ? slots.day({ day }) : h("span", day),
            )
          : null,
        h(
          "div",
          {
            key: "message",
            class: ["ws-message", isOwn && "ws-own", isFirst && "ws-first"],
            "data-status": entry.status,
          },
          [
            isOwn
              ? null
              : h(
                  "div",
                  { class: "ws-side" },
                  isFirst
                    ? slots.avatar
                      ? slots.avatar(own)
                      : h(Avatar, { sender: message.sender })
                    : null,
                ),
            h("div", { class: "ws-body" }, [
              head,
              slots.message ? slots.message(own) : bubble,
              entry.status === "failed"
                ? slots.failed
                  ? slots.failed(own)
                  : failure(entry)
                : null,
              slots.actions?.(own),
            ]),
          ],
        ),
      ];
    };
  },
});
