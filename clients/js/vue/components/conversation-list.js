/** The conversations of a user, one of them chosen. */

import { defineComponent, h } from "vue";

import { useWsClient } from "../client.js";
import { useConversations } from "../conversations.js";
import { useTexts } from "../locale.js";
import { Avatar, nameOf, textOf } from "./content.js";

const NEAR_PX = 300; // from the end of the list, where more is loaded
const PREVIEW = 120; // characters
const STATES = { __proto__: null, pending: "statePending", closed: "stateClosed" };
const MOVES = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export const WsConversationList = defineComponent({
  name: "WsConversationList",
  props: {
    /** What `useConversations` gave; default: its own. */
    conversations: { type: Object, default: null },
    /** Id of the chosen session. */
    modelValue: { type: String, default: null },
  },
  emits: ["update:modelValue"],
  setup(props, { slots, emit }) {
    const client = useWsClient();
    const { conversations, hasMore, isLoading, error, loadMore } =
      props.conversations ?? useConversations({ client });
    const { t, moment } = useTexts();

    /** The title, or who else is in it. */
    function titleOf({ title, session_id: id, members, last_message: last }) {
      if (title) return title;
      const own = client.connection?.user_id;
      const others = members.filter((each) => each !== own);
      if (others.length > 0) return others.slice(0, 3).join(", ");
      return last?.sender && last.sender.user_id !== own ? nameOf(last.sender) : id;
    }

    function preview({ last_message: last }) {
      if (last === null) return "";
      if (last.deleted) return t("deleted");
      const text = textOf(last).slice(0, PREVIEW).replace(/\s+/g, " ") || "…";
      const isOwn = last.sender?.user_id === client.connection?.user_id;
      return `${isOwn ? t("you") : nameOf(last.sender)}: ${text}`;
    }

    function item(conversation) {
      const { session_id: id, unread, state, last_message: last } = conversation;
      const given = { conversation };
      const title = titleOf(conversation);
      const isChosen = id === props.modelValue;
      const button = {
        type: "button",
        class: "ws-conversation",
        "aria-current": isChosen ? "true" : null,
        "data-state": state,
        onClick: () => emit("update:modelValue", id),
      };
      const badge = unread > 99 ? "99+" : unread;
      const shown = () => [
        slots.avatar?.(given) ?? h(Avatar, { sender: { user_id: id, username: title } }),
        h("span", { class: "ws-body" }, [
          h("span", { class: "ws-line" }, [
            h("span", { class: "ws-title" }, slots.title?.(given) ?? h("bdi", title)),
            last ? h("time", { datetime: last.created_at }, moment(last.created_at)) : null,
          ]),
          h("span", { class: "ws-line" }, [
            h(
              "span",
              { class: "ws-preview", dir: "auto" },
              slots.preview?.(given) ?? preview(conversation),
            ),
            STATES[state] ? h("span", { key: "state", class: "ws-state" }, t(STATES[state])) : null,
            unread > 0
              ? h("span", { key: "unread", class: "ws-badge" }, [
                  h("span", { "aria-hidden": "true" }, badge),
                  h("span", { class: "ws-hidden" }, t("unread", { n: unread })),
                ])
              : null,
          ]),
        ]),
      ];
      return h("li", { key: id }, [h("button", button, slots.item?.(given) ?? shown())]);
    }

    function scrolled({ target }) {
      const { scrollHeight, scrollTop, clientHeight } = target;
      if (scrollHeight - scrollTop - clientHeight < NEAR_PX) loadMore();
    }

    /** The arrow keys go from one to the next. */
    function pressed(event) {
      const step = MOVES[event.key];
      if (step === undefined) return;
      const buttons = [...event.currentTarget.querySelectorAll(".ws-conversation")];
      const now = buttons.indexOf(event.target.closest(".ws-conversation"));
      if (now < 0) return;
      event.preventDefault();
      buttons[Math.max(0, Math.min(buttons.length - 1, now + step))].focus();
    }

    return () => {
      const all = conversations.value;
      const isEmpty =
        all.length === 0 && !isLoading.value && !error.value && client.state === "open";
      const more = { key: "more", type: "button", class: "ws-link ws-more", onClick: loadMore };
      return h("nav", { class: "ws ws-conversations", "aria-label": t("conversations") }, [
        error.value
          ? h(
              "div",
              { key: "error", class: "ws-note ws-error", role: "alert" },
              error.value.message,
            )
          : null,
        isEmpty
          ? h("div", { key: "empty", class: "ws-note" }, slots.empty?.() ?? t("noConversations"))
          : null,
        h("ul", { key: "list", onScrollPassive: scrolled, onKeydown: pressed }, all.map(item)),
        hasMore.value ? h("button", more, t(isLoading.value ? "loading" : "more")) : null,
      ]);
    };
  },
});
