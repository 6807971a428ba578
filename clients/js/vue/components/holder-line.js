/** The line that says who answers in a session, with what the component needs of other modules. */

import { computed, defineComponent, h, ref } from "vue";

export const HOLDER_TEXTS = {
  holderAi: ["The AI answers ({name})", "AI 正在接待（{name}）"],
  holderUser: ["{name} answers", "{name}正在接待"],
  holderYou: ["You answer", "由我接待"],
  holderNone: ["Nobody answers", "无人接待"],
  holderWanted: ["Somebody is wanted", "等待人工接待"],
  take: ["Take over", "接管"],
  release: ["Release", "结束接待"],
  toAi: ["Back to the AI", "交还 AI"],
  termChanged: ["Somebody was faster", "已被他人抢先"],
  noResponder: ["No AI has answered here yet", "此会话还没有 AI 接待过"],
};

/** The component, made of functions of other modules. */
export const holderOf = (useWsClient, conversationsOf, useTexts) =>
  defineComponent({
    name: "WsHolder",
    props: {
      sessionId: { type: String, required: true },
      /** Only show who answers. */
      readonly: Boolean,
    },
    emits: ["changed"],
    setup(props, { slots, emit }) {
      const client = useWsClient();
      const store = conversationsOf(client);
      const { t } = useTexts(HOLDER_TEXTS);
      const isBusy = ref(false);
      const failure = ref(null);
      const conversation = computed(() => {
        void store.conversations.value;
        return store.get(props.sessionId) ?? null;
      });
      const isOwn = (holder) => holder?.type === "user" && holder.id === client.connection?.user_id;

      async function change(command) {
        isBusy.value = true;
        failure.value = null;
        try {
          const { term, holder } = await command();
          if (conversation.value) Object.assign(conversation.value, { term, holder });
          emit("changed", { term, holder });
        } catch (error) {
          failure.value = error;
          const { term } = error.details ?? {};
          // Somebody was faster: the next try is about what is shown then.
          if (error.code === "term_changed" && conversation.value && term !== undefined)
            store.refresh();
        } finally {
          isBusy.value = false;
        }
      }

      const take = () => change(() => client.take(props.sessionId, conversation.value?.term));
      const release = (to) => change(() => client.release(props.sessionId, to));

      function sentence(holder, state) {
        if (holder === null) return t(state === "pending" ? "holderWanted" : "holderNone");
        if (isOwn(holder)) return t("holderYou");
        return t(holder.type === "ai" ? "holderAi" : "holderUser", { name: holder.id });
      }

      return () => {
        const { holder = null, state = "open" } = conversation.value ?? {};
        const given = { holder, state, isOwn: isOwn(holder), isBusy: isBusy.value, take, release };
        const button = (text, act) =>
          h(
            "button",
            { type: "button", class: "ws-button", disabled: isBusy.value, onClick: act },
            text,
          );
        const buttons = () =>
          isOwn(holder)
            ? [button(t("toAi"), () => release("ai")), button(t("release"), () => release())]
            : [button(t("take"), take)];
        const shown = () => [
          h("span", { class: "ws-dot", "aria-hidden": "true" }),
          h("bdi", { class: "ws-who" }, sentence(holder, state)),
          ...(props.readonly ? [] : buttons()),
        ];
        const attributes = {
          class: "ws ws-holder",
          "data-holder": holder?.type ?? "none",
          "data-state": state,
        };
        return h("div", attributes, [
          ...(slots.default?.(given) ?? shown()),
          h(
            "span",
            { key: "failure", class: "ws-error", role: "status" },
            failure.value ? reason(failure.value) : "",
          ),
        ]);

        function reason({ code, message }) {
          return code === "term_changed"
            ? t("termChanged")
            : code === "no_responder"
              ? t("noResponder")
              : message;
        }
      };
    },
  });
