/** The state of the connection. */

import { computed, ref, shallowRef } from "vue";

import { on, useWsClient } from "./client.js";

/** The state of the connection, for a line at the top of the page. */
export function useConnection(client = useWsClient()) {
  const state = ref(client.state);
  const userId = ref(client.connection?.user_id ?? null);
  const lastClose = shallowRef(null);
  on(client, "ws:state", (detail) => (state.value = detail.state));
  on(client, "ws:open", (push) => {
    userId.value = push.user_id;
    lastClose.value = null;
  });
  on(client, "ws:close", (detail) => (lastClose.value = detail));
  const isOpen = computed(() => state.value === "open");
  return { state, isOpen, userId, lastClose };
}
