/** What an application may write in strict mode, and what it may not. */

import {
  WsClient,
  WsError,
  isPush,
  type CloseCode,
  type ErrorCode,
  type KeptPush,
  type NewMessagePush,
  type WsClientOptions,
} from "@wsserver/client";
import { FakeServer, WsReplay, type Recording } from "@wsserver/client/testing";
import {
  WsComposer,
  WsMessageList,
  WsNotifications,
  useConnection,
  useNotifications,
  useSession,
  useWsClient,
  useWsLocale,
} from "@wsserver/client/vue";
import {
  WsNotificationPreferences,
  useNotificationPreferences,
} from "@wsserver/client/vue/preferences";
import { h, ref } from "vue";

const options: WsClientOptions = {
  url: "https://chat.example.com",
  tokenProvider: async () => (await fetch("/token")).text(),
  storage: sessionStorage,
  shareTabs: false,
};
const client = new WsClient(options);

client.addEventListener("new_message", ({ detail }) => {
  // @ts-expect-error: of a message that was deleted before it came there is none
  void detail.message.sender;
  if (detail.message.deleted) return;
  const content: string | Record<string, any> = detail.message.content;
  const name: string = detail.message.sender.username ?? detail.message.sender.user_id;
  void [content, name];
  // @ts-expect-error: not a member of a message
  void detail.message.text;
});
client.addEventListener("ws:close", ({ detail: { code, willReconnect, delayMs } }) => {
  const delay: number | null = delayMs;
  void [code, willReconnect, delay];
  // @ts-expect-error: it may be null
  void delayMs.toFixed();
});
client.addEventListener("ws:push", ({ detail }) => {
  if (isPush(detail, "typing")) void detail.is_typing;
  // @ts-expect-error: only of some pushes
  void detail.is_typing;
});
client.addEventListener("order.shipped", ({ detail }) => {
  const data: unknown = detail.data;
  void data;
});
client.addEventListener("ai_processing_status", ({ detail }) => {
  // @ts-expect-error: there is no such status
  return detail.status === "done";
});
client.addEventListener("ws:answer", ({ detail: { answer } }) => {
  answer.addEventListener("text", ({ detail }) => {
    const at: number = detail.at;
    const text: string = answer.text;
    void [at, text, detail.text];
  });
  answer.addEventListener("end", () => void (answer.state === "completed"));
  // @ts-expect-error: it is the client's to change
  answer.text = "";
  void client.cancelAnswer(answer.id, "enough");
});
const handler = ({ detail }: CustomEvent<NewMessagePush>) => void detail.id;
client.addEventListener("new_message", handler, { once: true });
client.removeEventListener("new_message", handler);
// @ts-expect-error: a handler of another push
client.addEventListener("typing", handler);

interface Card {
  title: string;
}

export async function talk(card: Card): Promise<void> {
  const established = await client.connect();
  const pending: number = established.inbox.pending;
  const joined = await client.join("s1");
  for (const { user_id: userId, connections } of joined.users) void [userId, connections, pending];
  const ack = await client.sendMessage("s1", card, { contentType: "application/json" });
  const offset: number = ack.offset;
  await client.sendMessage("s1", "careful", { seenOffset: offset });
  const page = await client.history("s1", { before: offset, limit: 20 });
  const messages: KeptPush[] = page.messages;
  for (const push of messages) {
    if (isPush(push, "new_message")) {
      void push.message.created_at;
      const text = push.message.deleted ? null : push.message.content;
      void text;
    }
    void push.offset.toFixed();
  }
  const { acknowledged } = await client.command("ack", { ids: ["msg_1"] });
  const { server_time: time } = await client.command("ping");
  const { result } = await client.command("subscribe", { args: { events: ["user_*"] } });
  void [acknowledged.toFixed(), time.length, result.interval_s];

  const { events, connections } = client.report();
  for (const { at, dir, type } of events) if (dir === "out") void [Date.parse(at), type];
  void connections[0]?.clock?.offset_ms.toFixed();

  // @ts-expect-error: a session is required
  await client.command("typing", { is_typing: true });
  // @ts-expect-error: an unknown field
  await client.command("presence", { session_id: "s1", all: true });
  // @ts-expect-error: no such command
  await client.command("join", { session_id: "s1" });
  // @ts-expect-error: the fields are required
  await client.command("join_session");
  // @ts-expect-error: a number is no content
  await client.sendMessage("s1", 7);
  // @ts-expect-error: no such option
  new WsClient({ tokens: [] });
  // @ts-expect-error: no such policy
  new WsClient({ acknowledge: "some" });
  // @ts-expect-error: the client's to set
  client.state = "open";
}

export function explain(error: unknown): ErrorCode | null {
  if (!(error instanceof WsError)) return null;
  if (error.code === "rate_limited") return `${error.details.retry_after_ms ?? 0}`;
  return error.temporary ? "again" : error.code;
}

const limit: CloseCode = 4504;
// @ts-expect-error: no such close code
const other: CloseCode = 4999;
void [limit, other];

export async function test(): Promise<void> {
  const server = new FakeServer();
  const alice: WsClient = server.client("alice", { minDelayMs: 1 });
  await alice.connect();
  const push = server.say("s1", "Hello", { from: "bob" });
  const pushed: NewMessagePush = push;
  void pushed.id;
  server.answer("typing", () => ({ type: "ack" }));
  server.refuse("send_message", "forbidden");
  void push.message.content;
  // @ts-expect-error: no such command
  server.refuse("send", "forbidden");
}

export async function replayed(recording: Recording): Promise<void> {
  const replay = new WsReplay(recording, { user: "alice" });
  const alice: WsClient = replay.client();
  await alice.connect();
  const push: NewMessagePush | null = await replay.until("new_message");
  void push?.message.id;
  await replay.step(3);
  await replay.play({ speed: 2 });
  // @ts-expect-error: speed is a number
  await replay.play({ speed: "fast" });
}

export function setup(): void {
  useWsClient({ tokenProvider: () => null });
  const { state, lastClose } = useConnection();
  const session = useSession(ref("s1"), { pageSize: 20, checkSeen: true });
  for (const entry of session.messages.value) {
    if (entry.status === "failed") void session.retry(entry);
    // @ts-expect-error: there is no such status
    if (entry.status === "lost") continue;
  }
  const { popups, dismiss } = useNotifications();
  for (const popup of popups.value) dismiss(popup);
  void [state.value, lastClose.value?.code, useSession(() => null)];
  useWsLocale("zh-CN", { send: "Los", newMessages: ({ n }) => `${n} neu` });
  // @ts-expect-error: there is no such text
  useWsLocale("de", { sendIt: "Los" });
  h(WsMessageList, { session, class: "messages" }, { content: () => "text" });
  h(WsComposer, { sessionId: "s1", onSent: (entry) => void entry.key });
  h(WsNotifications, { onOpen: (entry, event) => entry.action_url && event.preventDefault() });
  // @ts-expect-error: it takes no number
  h(WsComposer, { placeholder: 7 });
  // @ts-expect-error: the composable's to set
  session.messages.value = [];
  // @ts-expect-error: a number is no content
  void session.send(7);
}

async function choosing() {
  const chosen = useNotificationPreferences({ client });
  const saved: boolean = await chosen.setChannel("device_status", "sms", false);
  void chosen.setQuietHours({ start: "22:00", end: "07:00" });
  // @ts-expect-error: not a channel
  void chosen.isOn("*", "fax");
  h(WsNotificationPreferences, { preferences: chosen, channels: ["push"], names: { x: "X" } });
  h(WsNotifications, null, { preferences: () => h(WsNotificationPreferences) });
  return saved;
}
void choosing;
