/** The same for the other entries of the package: calls, tasks, files, all of Vue, the server in memory. */

import {
  Answer,
  NO_CREDENTIAL,
  WsClient,
  isPush,
  mayReconnect,
  type AnswerState,
  type ClientErrorCode,
  type Conversation,
  type KeptPush,
  type Upload,
} from "@wsserver/client";
import { RtcCalls, type RtcCall } from "@wsserver/client/calls";
import { Tasks } from "@wsserver/client/tasks";
import { FakeServer } from "@wsserver/client/testing";
import {
  WsConnectionStatus,
  WsConversationList,
  WsHolder,
  WsMessageList,
  WsTyping,
  useConversations,
  useSession,
  useUnread,
  useWsClient,
  wsClient,
} from "@wsserver/client/vue";
import { WsCall, useCalls } from "@wsserver/client/vue/calls";
import { WsAttachment, WsUploads } from "@wsserver/client/vue/files";
import { createApp, defineComponent, h, ref } from "vue";

const client = new WsClient({ token: "t", WebSocket, fallback: false });

export async function everything(): Promise<void> {
  const page = await client.history("s1", { changes: true });
  for (const push of page.messages) {
    if (isPush(push, "message_updated")) {
      const { edited_at: at } = push.message;
      void [at, push.offset.toFixed()];
    } else if (isPush(push, "message_deleted")) {
      const by: string = push.deleted_by;
      // @ts-expect-error: nothing is left of its content
      void [by, push.message.content];
    } else if (isPush(push, "answer_ended")) {
      const state: AnswerState = push.state;
      void [state, push.reason];
    }
  }
  const known: KeptPush[] = page.messages;
  const { conversations, next_cursor: cursor } = await client.conversations({ state: "open" });
  const first: Conversation | undefined = conversations[0];
  await client.conversations({ cursor, limit: 5 });
  const { notifications } = await client.notifications({ unread: true, cursor: null });
  await client.markNotifications({ ids: notifications.map(({ id }) => id), read: true });
  await client.markNotifications({ upTo: "notify_1", archived: true });
  const chosen = await client.preferences({ channels: { "*": { email: false } } });
  const found = await client.search("order", { sessionId: "s1", before: null });
  const { term } = await client.take("s1", 3);
  const { holder } = await client.release("s1", "ai");
  client.markRead("s1", 4);
  client.markRead(["msg_1"]);
  client.acknowledge("msg_1");
  const answer: Answer | undefined = client.answer("msg_1");
  await client.editMessage("msg_1", { text: "better" });
  await client.deleteMessage("msg_1");
  await client.typing("s1", false);
  const { users } = await client.presence("s1");
  const upload: Upload = await client.sendFile("s1", new Blob(["x"]), { filename: "x.txt" });
  const id: string = await upload.done;
  const url: string = await client.fileUrl(id);
  const key: Uint8Array | null = await client.pushKey();
  const code: ClientErrorCode = "cancelled";
  void [known, first, chosen.channels, found.messages, term, holder?.id, answer?.isGrowing, users];
  void [url, key, code, mayReconnect(1006), NO_CREDENTIAL];
  // @ts-expect-error: an offset goes with one session
  client.markRead(["s1"], 4);
  // @ts-expect-error: there is no such state
  await client.conversations({ state: "new" });
  // @ts-expect-error: the AI, or nobody
  await client.release("s1", "user");
}

export async function call(): Promise<void> {
  const calls = new RtcCalls(client, { giveUpMs: 10_000 });
  calls.addEventListener("incoming", ({ detail }) => void detail.call.answer({ video: false }));
  const made: RtcCall = await calls.start("s1", { video: true });
  const stream: MediaStream | null = made.remoteStream;
  const name: string | undefined = made.peer?.user_id;
  made.mute("audio");
  made.hangUp("enough");
  void [stream, name, made.answeredAt?.getTime(), made.state === "declined"];
  // @ts-expect-error: made by RtcCalls alone
  new (made.constructor as typeof RtcCall)();
  // @ts-expect-error: there is no such kind of track
  made.mute("screen");
  calls.close();
}

export async function work(): Promise<void> {
  const tasks = new Tasks(client);
  tasks.addEventListener("change", ({ detail: { task, changed, by } }) => {
    void [task.title, changed.length, by?.length];
  });
  const { version } = await tasks.read("task_1");
  await tasks.update("task_1", { state: "running", expected_version: version });
  // @ts-expect-error: there is no such state
  await tasks.update("task_1", { state: "started" });
  tasks.close();
}

/** What a slot of the list of messages gets. */
type Given<Name extends "file" | "sender" | "avatar"> = Parameters<
  NonNullable<InstanceType<typeof WsMessageList>["$slots"][Name]>
>[0];

export const App = defineComponent(() => {
  useWsClient(client);
  const chosen = ref<string | null>(null);
  const { conversations, loadMore } = useConversations({ state: "pending" });
  const unread = useUnread(chosen);
  const all: number = useUnread().value;
  const session = useSession(chosen, { checkSeen: () => true });
  const calls = useCalls({ giveUpMs: 5000 });
  void [all, loadMore, calls.call.value?.isHere, conversations.value[0]?.last_message];
  return () => [
    h(WsConnectionStatus, { always: true }),
    h(WsConversationList, {
      modelValue: chosen.value,
      "onUpdate:modelValue": (id) => (chosen.value = id),
    }),
    h(WsHolder, { sessionId: "s1", onChanged: ({ term }) => void term }),
    h(
      WsMessageList,
      { session, actions: ["reply", "moderate"] },
      {
        file: ({ message }: Given<"file">) => h(WsAttachment, { message, pictures: false }),
        sender: ({ message }: Given<"sender">) =>
          message.deleted ? "" : (message.sender?.username ?? ""),
        // @ts-expect-error: a deleted message has no sender
        avatar: ({ message }: Given<"avatar">) => message.sender.user_id,
      },
    ),
    h(WsUploads, { session, accept: "image/*", onUploaded: (id) => void id.length }),
    h(WsTyping, { session }),
    h(WsCall, { sessionId: "s1", calls, video: false, onIncoming: ({ id }) => void id }),
    String(unread.value),
    // @ts-expect-error: a session is required
    h(WsTyping, {}),
    // @ts-expect-error: there is no such action
    h(WsMessageList, { session, actions: ["pin"] }),
  ];
});
createApp(App).use(wsClient, client, { locale: "zh-CN", texts: { calls: "Anrufe", attach: "+" } });

export function answers(): void {
  const server = new FakeServer({ now: () => new Date(0) });
  const answer = server.startAnswer("s1", { content: "So" });
  const goesOn: boolean = answer.append(" far.");
  const ended = answer.finish({ state: "failed", reason: "overloaded" });
  server.hold("s1", { type: "ai", id: "bot" });
  server.update("s1", { state: "closed" });
  server.push("typing", { session_id: "s1", user_id: "bob", username: null, is_typing: true });
  server.push("price", { data: 7 }, { user: "alice" });
  const notified = server.notify("alice", { title: "Hello" });
  void [goesOn, ended?.message.content, notified.notification.title];
  // @ts-expect-error: a field is missing
  server.push("typing", { session_id: "s1" });
}
