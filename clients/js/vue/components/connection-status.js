/** A line that says so when there is no connection. */

import { computed, defineComponent, h, onMounted, onScopeDispose, ref, watch } from "vue";

import { useConnection } from "../connection.js";
import { useWsClient } from "../client.js";
import { useTexts } from "../locale.js";

const SHOWN_MS = 1000; // a connection that is back sooner needs no word

export const WsConnectionStatus = defineComponent({
  name: "WsConnectionStatus",
  props: {
    /** Show also that all is well. */
    always: Boolean,
  },
  setup(props, { slots }) {
    const client = useWsClient();
    const { state, lastClose } = useConnection(client);
    const { t } = useTexts();
    const isShown = ref(false);
    const now = ref(0);
    const nextAt = ref(null);
    let timer = 0;
    let ticker = 0;

    const secondsLeft = computed(() =>
      nextAt.value === null ? null : Math.max(0, Math.round((nextAt.value - now.value) / 1000)),
    );
    watch(
      [state, lastClose],
      () => {
        const delay = state.value === "waiting" ? lastClose.value?.delayMs : null;
        now.value = Date.now();
        nextAt.value = typeof delay === "number" ? now.value + delay : null;
        if (state.value === "open" || state.value === "idle") {
          clearTimeout(timer);
          timer = 0;
          isShown.value = false;
        } else if (state.value === "closed") isShown.value = true;
        else if (timer === 0) timer = setTimeout(() => (isShown.value = true), SHOWN_MS);
      },
      { immediate: true },
    );
    onMounted(() => (ticker = setInterval(() => (now.value = Date.now()), 1000)));
    onScopeDispose(() => {
      clearTimeout(timer);
      clearInterval(ticker);
    });

    function text() {
      if (state.value === "open") return t("connected");
      if (state.value === "closed") return t("closed");
      if (state.value !== "waiting") return t("connecting");
      if (lastClose.value?.code === 4504) return t("elsewhere");
      return secondsLeft.value > 1 ? t("waitingFor", { n: secondsLeft.value }) : t("waiting");
    }

    return () => {
      const given = {
        state: state.value,
        lastClose: lastClose.value,
        secondsLeft: secondsLeft.value,
      };
      const connect = () => client.connect().catch(() => {});
      const button = { type: "button", class: "ws-link", onClick: connect };
      const shown = () =>
        slots.default?.(given) ?? [
          h("span", { class: "ws-dot", "aria-hidden": "true" }),
          h("span", text()),
          state.value === "closed" ? h("button", button, t("connect")) : null,
        ];
      const isVisible = props.always || isShown.value;
      const attributes = { class: "ws ws-connection", role: "status", "data-state": state.value };
      return h("div", attributes, isVisible ? shown() : []);
    };
  },
});
