import assert from "node:assert/strict";
import { test } from "node:test";
import { createRenderer, createSSRApp, defineComponent, h, nextTick, ref } from "vue";
import { renderToString } from "vue/server-renderer";

import { FakeServer } from "../../testing/index.js";
import {
  WsComposer,
  WsConnectionStatus,
  WsMessageList,
  WsNotifications,
  WsTyping,
  useConnection,
  useConversations,
  useNotifications,
  useSession,
  useWsClient,
  useWsLocale,
  wsClient,
} from "../../vue/index.js";
import { CALL_TEXTS } from "../../vue/call-texts.js";
import { HOLDER_TEXTS } from "../../vue/components/holder-line.js";
import { PANEL_TEXTS } from "../../vue/components/notification-panel.js";
import { useTexts } from "../../vue/locale.js";
import { PREFERENCE_TEXTS, TEMPLATE_NAMES } from "../../vue/preference-texts.js";
import { useNotificationPreferences } from "../../vue/preferences.js";
import { TEXTS } from "../../vue/texts.js";

const nothing = () => {};
const node = () => ({ children: [] });
const { createApp } = createRenderer({
  createElement: node,
  createText: node,
  createComment: node,
  insert: nothing,
  remove: nothing,
  patchProp: nothing,
  setText: nothing,
  setElementText: nothing,
  parentNode: () => null,
  nextSibling: () => null,
});

/** Mount a component below one that has the client; returns what its setup gave. */
function mount(client, setup) {
  let made;
  const Inner = defineComponent(() => {
    made = setup();
    return () => h("p");
  });
  const Outer = defineComponent(() => {
    useWsClient(client);
    return () => h(Inner);
  });
  const app = createApp(Outer);
  app.mount(node());
  return { ...made, unmount: () => app.unmount() };
}

const soon = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(test) {
  while (!test()) await soon(5);
}
const contents = (session) => session.messages.value.map(({ message }) => message.content);

/** A session of alice, with bob in it, too. */
async function talk(options) {
  const server = new FakeServer();
  for (let n = 1; n <= 5; n++) server.say("s1", `old ${n}`, { from: "bob" });
  const alice = server.client("alice");
  const bob = server.client("bob");
  await bob.connect();
  await bob.join("s1");
  const session = mount(alice, () => ({
    ...useSession("s1", options),
    connection: useConnection(),
  }));
  await soon();
  const end = () => {
    session.unmount();
    alice.close();
    bob.close();
  };
  return { server, alice, bob, session, end };
}

test("a session shows its history, loads older messages, and what is said", async () => {
  const { bob, session, end } = await talk({ pageSize: 2 });
  assert.equal(session.connection.state.value, "open");
  assert.equal(session.connection.userId.value, "alice");
  assert.deepEqual(contents(session), ["old 4", "old 5"]);
  assert.equal(session.hasOlder.value, true);
  await session.loadOlder();
  await session.loadOlder();
  assert.equal(session.hasOlder.value, false);
  await bob.sendMessage("s1", "new");
  await soon();
  assert.deepEqual(contents(session), ["old 1", "old 2", "old 3", "old 4", "old 5", "new"]);
  assert.equal(session.unread.value, 1);
  end();
});

test("a message is shown while it is sent, once, under the same key", async () => {
  const { session, bob, end } = await talk();
  const sending = session.send("mine");
  const [entry] = session.messages.value.slice(-1);
  assert.deepEqual([entry.status, entry.message.content], ["sending", "mine"]);
  await sending;
  await soon();
  assert.equal(session.messages.value.at(-1), entry);
  assert.equal(contents(session).filter((text) => text === "mine").length, 1);
  assert.deepEqual([entry.status, entry.deliveredTo, entry.offset], ["delivered", ["bob"], 6]);
  bob.markRead(entry.id);
  await soon();
  assert.deepEqual([entry.status, entry.readBy], ["read", ["bob"]]);
  end();
});

test("a message that fails can be sent again or taken off", async () => {
  const { server, session, end } = await talk();
  server.refuse("send_message", "forbidden");
  const entry = await session.send("x");
  assert.deepEqual([entry.status, entry.error.code], ["failed", "forbidden"]);
  const other = await session.send("y");
  session.discard(other);
  server.answer("send_message", null);
  await session.retry(entry);
  await soon();
  assert.notEqual(entry.status, "failed");
  assert.equal(entry.error, null);
  assert.deepEqual(contents(session).slice(-1), ["x"]);
  end();
});

test("what is not the last word any more is sent only if one says so again", async () => {
  const { server, alice, session, end } = await talk({ checkSeen: true });
  assert.equal((await session.send("seen")).message.content, "seen");
  assert.equal(server.commands.at(-1).seen_offset, 5);
  server.stop();
  const sending = session.send("late");
  const follow = session.send("and this");
  server.say("s1", "meanwhile", { from: "bob" });
  server.start();
  const [entry, next] = await Promise.all([sending, follow]);
  assert.deepEqual([entry.status, entry.error.code], ["failed", "stale_view"]);
  assert.deepEqual([next.status, next.error.code], ["failed", "stale_view"]);
  assert.deepEqual(contents(session).slice(-3), ["meanwhile", "late", "and this"]);
  const count = () => server.commands.filter(({ content }) => content === "late").length;
  assert.deepEqual([count(), alice.unsent], [1, 0], "it is not tried again by itself");
  await session.retry(entry);
  session.discard(next);
  await soon();
  assert.deepEqual([entry.status, entry.error], ["delivered", null]);
  assert.deepEqual(contents(session).slice(-3), ["seen", "meanwhile", "late"]);
  end();
});

test("what was missed is shown before it comes as a push", async () => {
  const { server, session, end } = await talk({ checkSeen: true });
  const missed = server.say("s9", "unseen", { from: "bob" });
  const push = { ...missed, session_id: "s1", stream: "session:s1", offset: 6 };
  server.refuse("send_message", "stale_view", { temporary: true, missed: [push] });
  const entry = await session.send("late");
  assert.equal(entry.error.code, "stale_view");
  assert.deepEqual(contents(session).slice(-2), ["unseen", "late"]);
  server.answer("send_message", null);
  await session.retry(entry);
  assert.equal(server.commands.at(-1).seen_offset, 6);
  end();
});

test("what is written before the session is joined waits for that", async () => {
  const server = new FakeServer();
  server.refuse("join_session", "rate_limited", { temporary: true, retry_after_ms: 5 });
  const client = server.client("alice");
  const session = mount(client, () => useSession("s1"));
  const sending = session.send("early");
  await soon(50);
  assert.equal(session.messages.value[0].status, "sending");
  server.answer("join_session", null);
  await sending;
  assert.equal((await sending).status, "sent");
  server.refuse("join_session", "forbidden");
  const other = mount(client, () => useSession("s2"));
  assert.equal((await other.send("never")).status, "failed");
  session.unmount();
  other.unmount();
  client.close();
});

test("what is written and said while the network is away is there once, in order", async () => {
  const { server, session, end } = await talk();
  server.stop();
  await soon();
  assert.notEqual(session.connection.state.value, "open");
  const sending = session.send("mine");
  server.say("s1", "theirs", { from: "bob" });
  server.start();
  await sending;
  await soon();
  assert.deepEqual(contents(session).slice(-2), ["theirs", "mine"]);
  end();
});

test("a gap loads the history anew", async () => {
  const { server, session, end } = await talk();
  server.forget("s1");
  server.disconnect();
  server.say("s1", "after", { from: "bob" });
  await soon(50);
  assert.deepEqual(contents(session), ["after"]);
  end();
});

test("typing is sent once in a while, and ends", async () => {
  const { server, session, bob, end } = await talk();
  await bob.typing("s1", true);
  await soon();
  assert.deepEqual(session.typing.value, [{ user_id: "bob", username: null }]);
  await bob.sendMessage("s1", "done");
  await soon();
  assert.deepEqual(session.typing.value, []);
  for (let key = 0; key < 5; key++) session.startTyping();
  await session.send("hello");
  const told = server.commands.filter(
    ({ type, user_id: userId }) => type === "typing" && userId === "alice",
  );
  assert.deepEqual(told.map((each) => each.is_typing), [true, false]);
  end();
});

test("reading settles what is unread, and the server learns of it", async () => {
  const { server, bob, session, end } = await talk();
  const { message_id: id } = await bob.sendMessage("s1", "look");
  await soon();
  session.markRead();
  session.markRead();
  await soon();
  assert.equal(session.unread.value, 0);
  const read = server.commands.filter(({ type }) => type === "read");
  assert.deepEqual(read.map(({ ids }) => ids), [[id]]);
  end();
});

test("a session is left with the last component, and another one entered", async () => {
  const server = new FakeServer();
  const client = server.client("alice");
  const id = ref("s1");
  const first = mount(client, () => useSession(id));
  const second = mount(client, () => useSession("s1"));
  await soon();
  id.value = "s2";
  await nextTick();
  await soon();
  assert.deepEqual(client.sessions.sort(), ["s1", "s2"]);
  second.unmount();
  await soon();
  assert.deepEqual(client.sessions, ["s2"]);
  id.value = null;
  await nextTick();
  await soon();
  assert.deepEqual([client.sessions, first.messages.value], [[], []]);
  first.unmount();
  client.close();
});

test("a session that may not be joined says why", async () => {
  const server = new FakeServer();
  server.refuse("join_session", "forbidden");
  const client = server.client("alice");
  const session = mount(client, () => useSession("s1"));
  await soon();
  assert.deepEqual([session.error.value.code, session.isJoined.value], ["forbidden", false]);
  session.unmount();
  client.close();
});

test("notifications pop up, close by themselves or stay, and are read", async () => {
  const server = new FakeServer();
  const client = server.client("alice");
  const shown = mount(client, () => useNotifications({ popupMs: 30, limit: 2 }));
  await soon();
  server.notify("alice", { title: "gone", auto_close: true });
  server.notify("alice", { title: "stays", auto_close: false, action_url: "javascript:alert(1)" });
  server.notify("alice", { title: "link", auto_close: false, action_url: "/devices/1" });
  await soon(10);
  assert.deepEqual(shown.popups.value.map(({ title }) => title), ["gone", "stays", "link"]);
  await soon(50);
  const [link, stays] = shown.notifications.value;
  assert.deepEqual(shown.popups.value, [stays, link]);
  assert.deepEqual([link.action_url, stays.action_url], ["/devices/1", null]);
  shown.dismiss(stays);
  assert.equal(shown.unread.value, 3, "those that are not held count too");
  shown.markRead(link);
  assert.equal(shown.unread.value, 2);
  await soon();
  const read = server.commands.filter(({ type }) => type === "read").flatMap(({ ids }) => ids);
  assert.deepEqual(read, [link.id]);
  shown.markRead();
  await soon();
  assert.equal(shown.unread.value, 0);
  assert.equal((await client.notifications()).unread, 0);
  await shown.loadMore();
  assert.deepEqual(shown.notifications.value.map(({ title }) => title), ["link", "stays", "gone"]);
  assert.equal(shown.hasMore.value, false);
  shown.unmount();
  client.close();
});

test("the feed survives a reload, and is in step on two devices", async () => {
  const server = new FakeServer();
  for (let n = 0; n < 5; n++) server.notify("alice", { title: `n${n}` });
  const [phone, desk] = [server.client("alice"), server.client("alice")];
  const [shown, other] = [phone, desk].map((client) =>
    mount(client, () => useNotifications({ limit: 2 })),
  );
  await soon();
  const titles = (feed) => feed.notifications.value.map(({ title }) => title);
  assert.deepEqual([titles(shown), shown.unread.value, shown.hasMore.value], [["n4", "n3"], 5, true]);
  await shown.loadMore();
  assert.deepEqual(titles(shown), ["n4", "n3", "n2", "n1"]);
  shown.markRead(shown.notifications.value[1]);
  shown.archive(shown.notifications.value[0]);
  await soon();
  assert.deepEqual([titles(shown), shown.unread.value], [["n3", "n2", "n1"], 3]);
  assert.deepEqual([titles(other), other.unread.value], [["n3"], 3]);
  assert.equal(other.notifications.value[0].isRead, true);
  server.notify("alice", { title: "new", auto_close: false });
  await soon();
  assert.deepEqual([titles(other), other.unread.value], [["new", "n3"], 4]);
  assert.equal(other.popups.value.at(-1).title, "new");
  shown.markRead();
  await soon();
  assert.deepEqual([other.unread.value, other.popups.value], [0, []]);
  const read = server.commands.filter(({ type }) => type === "mark_notifications");
  assert.deepEqual(read.at(-1).up_to, other.notifications.value[0].id);
  // Nothing is lost while there is no connection: the list is loaded again.
  server.stop();
  await soon();
  server.notify("alice", { title: "meanwhile" });
  server.start();
  await soon(50);
  assert.deepEqual([titles(other)[0], other.unread.value], ["meanwhile", 1]);
  for (const each of [shown, other]) each.unmount();
  for (const client of [phone, desk]) client.close();
});

test("a notification that comes while the feed is loading is in it once", async () => {
  const server = new FakeServer();
  const client = server.client("alice");
  let answer;
  server.answer("notifications", () => {
    server.notify("alice", { title: "meanwhile" });
    return answer;
  });
  answer = { type: "notifications", user_id: "alice", notifications: [], unread: 0, total: 0, next_cursor: null };
  const shown = mount(client, () => useNotifications());
  await soon();
  assert.deepEqual(shown.notifications.value.map(({ title }) => title), ["meanwhile"]);
  assert.equal(shown.unread.value, 1);
  shown.unmount();
  client.close();
});

test("nothing of one user is shown or told for the next one on the page", async () => {
  const server = new FakeServer();
  let who = "alice";
  const client = server.client("alice", { tokenProvider: () => who, receiptDelayMs: 60_000 });
  const { notifications, popups, unread, conversations, preferences, unmount } = mount(client, () => ({
    ...useNotifications(),
    conversations: useConversations().conversations,
    preferences: useNotificationPreferences().preferences,
  }));
  await client.connect();
  await client.join("s1");
  server.say("s1", "Hello", { from: "carol" });
  server.notify("alice", { title: "Your order", auto_close: false });
  await server.idle();
  client.markRead("s1", 1);
  await until(() => conversations.value.length > 0);
  assert.deepEqual([popups.value.length, conversations.value.length], [1, 1]);
  assert.equal(preferences.value.user_id, "alice");

  who = "bob";
  const asked = ["conversations", "notifications", "preferences"];
  for (const type of asked) server.refuse(type, "internal");
  const before = server.commands.length;
  server.disconnect();
  await until(() => client.connection?.user_id === "bob");
  await server.idle();
  const shown = [notifications, popups, conversations].map(({ value }) => value.length);
  assert.deepEqual([...shown, unread.value, preferences.value], [0, 0, 0, 0, null]);
  client.close(); // tells what waits
  const told = server.commands.slice(before).map(({ type }) => type);
  assert.deepEqual(told.filter((type) => ["ack", "read", "mark_read"].includes(type)), []);
  unmount();
});

test("a session is shown to the next user of the page as that one sees it", async () => {
  const server = new FakeServer();
  let who = "alice";
  const client = server.client("alice", { tokenProvider: () => who });
  const session = mount(client, () => useSession("s1"));
  await client.connect();
  await until(() => session.isJoined.value);
  await session.send("mine");
  server.refuse("send_message", "forbidden");
  await session.send("not sent");
  assert.deepEqual(contents(session), ["mine", "not sent"]);

  who = "bob";
  server.disconnect();
  await until(() => client.connection?.user_id === "bob" && session.isJoined.value);
  await server.idle();
  const shown = session.messages.value.map(({ isOwn, message }) => [isOwn, message.content]);
  assert.deepEqual(shown, [[false, "mine"]]);
  assert.equal(session.error.value, null);
  session.unmount();
  client.close();
});

test("pop-ups that nobody closes are held up to a limit", async () => {
  const server = new FakeServer();
  const client = server.client("alice");
  const { popups, unmount } = mount(client, useNotifications);
  await client.connect();
  for (let n = 1; n <= 130; n++) server.notify("alice", { title: `${n}`, auto_close: false });
  await until(() => popups.value.at(-1)?.title === "130");
  assert.deepEqual([popups.value.length, popups.value[0].title], [100, "31"]);
  unmount();
  client.close();
});

test("what a user has chosen is merged, and null removes it", async () => {
  const server = new FakeServer();
  const client = server.client("alice");
  await client.connect();
  await client.preferences({ channels: { "*": { sms: false, push: false } } });
  const chosen = await client.preferences({ channels: { "*": { sms: null } } });
  assert.deepEqual(chosen.channels, { "*": { push: false } });
  assert.deepEqual((await client.preferences()).channels, chosen.channels);
  client.close();
});

test("a thousand messages at once are shown at once", async () => {
  const { server, session, end } = await talk();
  for (let n = 0; n < 1000; n++) server.say("s1", n, { from: "bob" });
  await soon(200);
  assert.equal(session.messages.value.length, 1005);
  end();
});

test("of a flood of messages the latest are held, and the older ones can be loaded", async () => {
  const { server, session, end } = await talk({ limit: 20, pageSize: 10 });
  for (let n = 0; n < 100; n++) server.say("s1", n, { from: "bob" });
  await soon(50);
  assert.equal(session.hasOlder.value, true);
  assert.ok(session.messages.value.length <= 20);
  assert.deepEqual(contents(session).slice(-2), [98, 99]);
  assert.equal(session.unread.value, session.messages.value.length);
  for (let page = 0; page < 3; page++) await session.loadOlder();
  const held = contents(session);
  assert.deepEqual(held, Array.from(held, (_, n) => 100 - held.length + n));
  assert.ok(held.length > 40);
  server.say("s1", 100, { from: "bob" });
  await soon();
  assert.deepEqual(contents(session), [...held, 100], "what was loaded is not taken away");
  for (let n = 101; n < 130; n++) server.say("s1", n, { from: "bob" });
  await soon();
  assert.ok(session.messages.value.length <= 20);
  end();
});

test("on a server it renders, connects to nothing, and misses a client clearly", async () => {
  const server = new FakeServer();
  const Page = defineComponent(() => {
    const { state } = useConnection();
    const { messages } = useSession("s1");
    return () => h("p", `${state.value} ${messages.value.length}`);
  });
  const app = createSSRApp(Page);
  app.use(wsClient, server.client("alice"));
  assert.equal(await renderToString(app), "<p>idle 0</p>");
  await server.idle();
  assert.deepEqual(server.users, []);
  await assert.rejects(renderToString(createSSRApp(Page)), /no client: call useWsClient/);
});

test("components render on a server, in the language that is given", async () => {
  const server = new FakeServer();
  const Page = defineComponent(() => {
    const session = useSession("s1");
    return () => [
      h(WsConnectionStatus, { always: true }),
      h(WsNotifications),
      h(WsMessageList, { session }),
      h(WsTyping, { session }),
      h(WsComposer, { session }),
    ];
  });
  const app = createSSRApp(Page);
  app.use(wsClient, server.client("alice"), { locale: "zh-CN", texts: { send: "走" } });
  const html = await renderToString(app);
  assert.match(html, /placeholder="输入消息…"/);
  assert.match(html, /aria-label="走"/);
  assert.deepEqual(server.users, []);
});

test("both languages have all texts, with the same values", () => {
  const valuesOf = (text) => {
    const asked = new Set();
    const values = new Proxy({}, { get: (_, name) => (asked.add(name), 2) });
    if (typeof text === "function") text = text(values);
    for (const [, name] of text.matchAll(/\{(\w+)\}/g)) asked.add(name);
    return [...asked].sort();
  };
  const all = {
    ...{ ...TEXTS, ...CALL_TEXTS, ...HOLDER_TEXTS, ...PANEL_TEXTS },
    ...{ ...PREFERENCE_TEXTS, ...TEMPLATE_NAMES },
  };
  for (const [name, [en, zh, ...more]] of Object.entries(all)) {
    assert.deepEqual(valuesOf(en), valuesOf(zh), name);
    assert.deepEqual(more, []);
  }
});

test("times are of the language, days by their distance, and what is no time is none", () => {
  let texts;
  const Inner = defineComponent(() => {
    texts = useTexts();
    return () => null;
  });
  const Outer = defineComponent(() => {
    useWsLocale("no language!", { today: "now" });
    return () => h(Inner);
  });
  createApp(Outer).mount(node());
  const now = new Date(2026, 2, 2, 12).getTime();
  assert.equal(texts.day(new Date(2026, 2, 2, 0, 1).toISOString(), now), "now");
  assert.equal(texts.day(new Date(2026, 2, 1, 23, 59).toISOString(), now), "Yesterday");
  assert.match(texts.day(new Date(2025, 11, 31).toISOString(), now), /2025/);
  for (const odd of ["", "no time", null, undefined, {}]) assert.equal(texts.time(odd), "");
});
