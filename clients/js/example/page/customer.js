/** The page of a customer: one conversation with the shop. */

import {
  WsComposer,
  WsConnectionStatus,
  WsHolder,
  WsMessageList,
  WsTyping,
  useSession,
  useWsClient,
} from "@wsserver/client/vue";

export const CustomerPage = {
  components: { WsComposer, WsConnectionStatus, WsHolder, WsMessageList, WsTyping },
  props: ["person", "options", "t"],
  emits: ["sign-out", "language"],
  setup(props) {
    useWsClient(props.options);
    const session = useSession(`chat:${props.person.id}`);
    const ask = (text) => session.send(text);
    return { session, ask };
  },
  template: `
    <main class="customer">
      <header class="bar">
        <img src="icon.svg" alt="" width="36" height="36">
        <div class="who">
          <h1>{{ t.shop }}</h1>
          <WsHolder :session-id="'chat:' + person.id" readonly v-slot="{ holder }">
            <span>{{ !holder ? t.soon : holder.type === 'ai' ? t.assistant : t.colleague }}</span>
          </WsHolder>
        </div>
        <WsConnectionStatus />
        <button class="plain" @click="$emit('language')">{{ t.otherLanguage }}</button>
        <button class="plain" @click="$emit('sign-out')">{{ t.signOut }}</button>
      </header>
      <WsMessageList :session="session">
        <template #empty>
          <div class="welcome">
            <p>{{ t.hello }} {{ person.name }}! {{ t.askUs }}</p>
            <button v-for="question in t.questions" :key="question" @click="ask(question)">
              {{ question }}
            </button>
          </div>
        </template>
      </WsMessageList>
      <WsTyping :session="session" />
      <WsComposer :session="session" />
    </main>
  `,
};
