/** Who is typing. */

import { defineComponent, h } from "vue";

import { useTexts } from "../locale.js";
import { nameOf } from "./content.js";

const NAMED = 3;

export const WsTyping = defineComponent({
  name: "WsTyping",
  props: {
    /** What `useSession` gave. */
    session: { type: Object, required: true },
  },
  setup(props, { slots }) {
    const { t, list } = useTexts();
    const sentence = (users) => {
      const names = users.map(nameOf);
      if (names.length > NAMED) return t("typingSeveral");
      return names.length > 1
        ? t("typingMany", { names: list(names) })
        : t("typingOne", { name: names[0] });
    };
    return () => {
      const users = props.session.typing.value;
      const dots = h(
        "span",
        { class: "ws-dots", "aria-hidden": "true" },
        [1, 2, 3].map((key) => h("i", { key })),
      );
      const shown = () => slots.default?.({ users }) ?? [dots, h("bdi", sentence(users))];
      return h("div", { class: "ws ws-typing", role: "status" }, users.length > 0 ? shown() : []);
    };
  },
});
