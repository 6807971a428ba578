/** A message in a list. */

import { defineComponent, h, ref, watchEffect } from "vue";

import { Avatar, cutAt, isFile, nameOf, textOf, withLinks } from "./content.js";

const TICKS = { sending: "○", sent: "✓", delivered: "✓✓", read: "✓✓" };
const QUOTE = 120; // characters of the message that is answered
const GROWING = "growing";
/** How an answer may have ended, other than well. */
const ENDS = {
  cancelled: "answerCancelled",
  failed: "answerFailed",
  interrupted: "answerInterrupted",
};
const ASKED_MS = 4000; // how long a deletion waits to be confirmed

export const Row = defineComponent({
  name: "WsMessage",
  props: ["entry", "session", "day", "isFirst", "isNew", "actions", "slots", "reveal", "texts"],
  setup(props) {
    const { t, time } = props.texts; // those of the list: there may be many rows a second
    const isOpen = ref(false); // a long text is shown whole
    const isAsked = ref(false); // whether to delete it
    watchEffect(() => {
      if (props.entry.message.state === GROWING) isOpen.value = true; // also when it has ended
    });

    const button = (key, text, onClick, more = {}) =>
      h("button", { key, type: "button", class: "ws-link", onClick, ...more }, text);

    function content({ content: given, state }) {
      const text = textOf({ content: given });
      const cut = cutAt(text);
      const end = isOpen.value ? text.length : cut;
      const shown = text.slice(0, end) + (end < text.length ? "…" : "");
      const isText = typeof given === "string";
      const toggle = () => (isOpen.value = !isOpen.value);
      const attributes = { key: "text", class: "ws-text", dir: "auto" };
      return [
        isText ? h("div", attributes, withLinks(shown)) : h("pre", attributes, shown),
        cut < text.length && state !== GROWING
          ? button("toggle", t(isOpen.value ? "showLess" : "showAll"), toggle)
          : null,
      ];
    }

    function said(given) {
      const { message } = given;
      const { content: own, file } = props.slots;
      return own ? own(given) : (isFile(message) && file?.(given)) || content(message);
    }

    /** The message that this one answers, if it is here. */
    function quote({ reply_to: replyTo }) {
      if (!replyTo) return null;
      const found = props.session.find(replyTo);
      const said = found && !found.message.deleted ? textOf(found.message).slice(0, QUOTE) : "";
      const name = found?.isOwn ? t("you") : nameOf(found?.message.sender);
      const attributes = {
        key: "quote",
        type: "button",
        class: "ws-quote",
        "aria-label": `${t("inReplyTo")} ${name}: ${said}`,
        disabled: !found,
        onClick: () => props.reveal(replyTo),
      };
      return h("button", attributes, [
        h("bdi", { class: "ws-quoted" }, name || t("inReplyTo")),
        h("span", { dir: "auto" }, said),
      ]);
    }

    function status(entry) {
      const what = entry.isOwn && TICKS[entry.status] ? t(entry.status) : null;
      if (what === null) return null;
      const attributes = { class: "ws-ticks", role: "img", "aria-label": what, title: what };
      return h("span", { ...attributes, "data-status": entry.status }, TICKS[entry.status]);
    }

    function bubble(entry, given) {
      const { message } = entry;
      const { slots } = props;
      if (message.deleted) {
        return h("div", { key: "bubble", class: "ws-bubble ws-deleted" }, t("deleted"));
      }
      const { state } = message;
      return h("div", { key: "bubble", class: "ws-bubble", "data-answer": state }, [
        quote(message),
        h("div", { key: "content" }, said(given)),
        h("div", { key: "meta", class: "ws-meta" }, [
          slots.meta?.(given),
          ENDS[state] ? h("span", { title: message.reason }, t(ENDS[state])) : null,
          message.edited_at ? h("span", t("edited")) : null,
          h("time", { datetime: message.created_at }, time(message.created_at)),
          status(entry),
        ]),
      ]);
    }

    function failure(entry, given) {
      const { session, slots } = props;
      if (slots.failed) return slots.failed(given);
      const isStale = entry.error?.code === "stale_view";
      return h("div", { key: "failed", class: "ws-failed" }, [
        h("span", { key: "why", title: entry.error?.message }, t(isStale ? "stale" : "failed")),
        button("retry", t(isStale ? "sendAnyway" : "retry"), () => session.retry(entry)),
        button("discard", t("discard"), () => session.discard(entry)),
      ]);
    }

    /** What can be done with a message that is sent; the server has the last word. */
    function tools(entry) {
      const { session, actions } = props;
      const { message, isOwn } = entry;
      if (!entry.id || typeof entry.offset !== "number" || message.deleted) return null;
      const may = (name) => actions.includes(name) && (isOwn || actions.includes("moderate"));
      const target = (kind) => () => (session.target.value = { kind, entry });
      if (message.state === GROWING) return stopButton(entry);
      const all = [
        actions.includes("reply") ? button("reply", t("reply"), target("reply")) : null,
        may("edit") && typeof message.content === "string"
          ? button("edit", t("edit"), target("edit"))
          : null,
        may("delete")
          ? button("delete", t(isAsked.value ? "deleteSure" : "delete"), () => remove(entry), {
              "data-asked": isAsked.value,
            })
          : null,
      ];
      return all.some(Boolean) ? h("div", { key: "tools", class: "ws-tools" }, all) : null;
    }

    function stopButton(entry) {
      const { session } = props;
      return h("div", { key: "stop", class: "ws-stop" }, [
        button("stop", t("stop"), () => session.stop(entry)),
      ]);
    }

    function remove(entry) {
      if (isAsked.value) {
        isAsked.value = false;
        props.session.remove(entry);
        return;
      }
      isAsked.value = true;
      setTimeout(() => (isAsked.value = false), ASKED_MS);
    }

    return () => {
      const { entry, day, isFirst, isNew, slots } = props;
      const { message, isOwn } = entry;
      const given = { entry, message };
      const name = isOwn ? t("you") : nameOf(message.sender);
      const head = isFirst
        ? h("div", { key: "name", class: "ws-sender" }, slots.sender?.(given) ?? h("bdi", name))
        : h("span", { key: "name", class: "ws-hidden" }, name); // each is read by itself
      const avatar = () => slots.avatar?.(given) ?? h(Avatar, { sender: message.sender });
      const attributes = {
        key: "message",
        class: ["ws-message", isOwn && "ws-own", isFirst && "ws-first"],
        "data-status": entry.status,
      };
      return [
        day
          ? h("div", { key: "day", class: "ws-day" }, slots.day?.({ day }) ?? h("span", day))
          : null,
        isNew ? h("div", { key: "new", class: "ws-new" }, h("span", t("newFromHere"))) : null,
        h("div", attributes, [
          isOwn ? null : h("div", { key: "side", class: "ws-side" }, isFirst ? avatar() : []),
          h("div", { key: "body", class: "ws-body" }, [
            head,
            slots.message ? slots.message(given) : bubble(entry, given),
            entry.status === "failed" ? failure(entry, given) : null,
            entry.error && entry.status !== "failed" // what was asked of the server afterwards
              ? h("div", { key: "error", class: "ws-failed", role: "alert" }, entry.error.message)
              : null,
            slots.actions ? slots.actions(given) : tools(entry),
          ]),
        ]),
      ];
    };
  },
});
