/** The page of the shop: all conversations, one of them open. */

import { computed, defineAsyncComponent, onBeforeUnmount, ref, watchEffect } from "vue";
import {
  WsComposer,
  WsConnectionStatus,
  WsConversationList,
  WsHolder,
  WsMessageList,
  WsNotifications,
  WsTyping,
  useConversations,
  useSession,
  useWsClient,
} from "@wsserver/client/vue";

const WsNotificationPreferences = defineAsyncComponent(
  async () => (await import("@wsserver/client/vue/preferences")).WsNotificationPreferences,
);

export const SalesDesk = {
  components: {
    WsComposer,
    WsConnectionStatus,
    WsConversationList,
    WsHolder,
    WsMessageList,
    WsNotificationPreferences,
    WsNotifications,
    WsTyping,
  },
  props: ["person", "options", "t"],
  emits: ["sign-out", "language"],
  setup(props) {
    useWsClient(props.options);
    const conversations = useConversations();
    const { unread } = conversations;

    // The open conversation is in the address, so that the back button and links work.
    const fromAddress = () => decodeURIComponent(location.hash.slice(1)) || null;
    const chosen = ref(fromAddress());
    const changed = () => (chosen.value = fromAddress());
    addEventListener("hashchange", changed);
    onBeforeUnmount(() => removeEventListener("hashchange", changed));
    const choose = (id) => (location.hash = id ?? "");

    const session = useSession(chosen, { checkSeen: true }); // two people may answer
    const title = computed(
      () =>
        conversations.conversations.value.find((each) => each.session_id === chosen.value)?.title,
    );
    watchEffect(() => {
      document.title = (unread.value > 0 ? `(${unread.value}) ` : "") + props.t.shop;
    });
    return { conversations, unread, chosen, choose, session, title };
  },
  template: `
    <main class="desk" :data-open="chosen !== null">
      <section class="list" :aria-label="person.name">
        <header class="bar">
          <img src="icon.svg" alt="" width="32" height="32">
          <component :is="chosen ? 'h2' : 'h1'">{{ person.name }}</component>
          <WsNotifications>
            <template v-slot:preferences>
              <WsNotificationPreferences :templates="['chat_message', 'human_takeover']" />
            </template>
          </WsNotifications>
          <button class="plain" @click="$emit('language')">{{ t.otherLanguage }}</button>
          <button class="plain" @click="$emit('sign-out')">{{ t.signOut }}</button>
        </header>
        <WsConnectionStatus class="status" />
        <WsConversationList :conversations="conversations" :model-value="chosen"
          @update:model-value="choose" />
      </section>
      <section v-if="chosen" class="open" :aria-label="title">
        <header class="bar">
          <button class="plain back" :aria-label="t.back" @click="choose(null)">←</button>
          <h1><bdi>{{ title ?? chosen }}</bdi></h1>
          <WsHolder :session-id="chosen" />
        </header>
        <WsMessageList :session="session" />
        <WsTyping :session="session" />
        <WsComposer :session="session" />
      </section>
      <section v-else class="nothing"><p>{{ t.choose }}</p></section>
    </main>
  `,
};
