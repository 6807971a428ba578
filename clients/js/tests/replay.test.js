import assert from "node:assert/strict";
import { test } from "node:test";

import { WsReplay } from "../testing/index.js";

const EPOCH = "e1";

function connection(id, user, second = 0) {
  const opened = new Date(Date.UTC(2024, 0, 15, 14, 30, second)).toISOString();
  return { connection_id: id, user_id: user, opened_at: opened };
}

function event(second, connectionId, dir, type, frame) {
  const at = new Date(Date.UTC(2024, 0, 15, 14, 30, 0, second * 1000)).toISOString();
  if (dir === "client") return { at, dir, connection: connectionId, type, ...frame };
  return { at, dir, connection: connectionId, type, frame: { type, ...frame } };
}

function said(offset, content, by = "bob") {
  const message = {
    id: `msg_${offset}`,
    session_id: "s1",
    sender: { user_id: by, username: null, role: "user" },
    content,
    content_type: "text",
    created_at: "2024-01-15T14:30:00Z",
  };
  const place = { stream: "session:s1", epoch: EPOCH, offset };
  return { id: message.id, session_id: "s1", ...place, message, timestamp: message.created_at };
}

const RECORDING = {
  kind: "wsserver-recording",
  format: 1,
  connections: [connection("c1", "alice"), connection("c2", "bob"), connection("c3", "alice", 5)],
  events: [
    event(0, "c1", "client", "connect"),
    event(0, "c1", "in", "connection_established", {
      connection_id: "c1",
      user_id: "alice",
      inbox: { epoch: "i1", offset: 3, pending: 0 },
    }),
    event(0.1, "c1", "out", "join_session", { session_id: "s1", ref: 7 }),
    event(0.2, "c1", "in", "session_joined", {
      ...{ session_id: "s1", user_id: "alice", epoch: EPOCH, offset: 40, recovered: true },
      ...{ messages: [], users: [{ user_id: "bob", username: null, connections: 1 }], ref: 7 },
    }),
    event(0.3, "c2", "in", "new_message", said(41, "for bob's side")),
    event(0.4, "c1", "in", "ping", { id: "p1" }),
    event(1, "c1", "in", "new_message", said(41, "Hello")),
    event(1.5, "c1", "out", "send_message", { session_id: "s1", content: "xx", ref: 8 }),
    event(1.6, "c1", "in", "new_message", said(42, "xx", "alice")),
    event(1.6, "c1", "in", "ack", {
      ...{ message_id: "msg_42", stream: "session:s1", epoch: EPOCH, offset: 42, ref: 8 },
    }),
    event(4, "c1", "client", "close", { code: 1006, reason: "" }),
    event(5, "c3", "client", "connect"),
    event(6, "c3", "in", "new_message", said(43, "And again")),
    event(7, "c3", "in", "order.placed", { data: { order: 1 }, timestamp: "t" }),
  ],
};

/** A client of a replay, in the session, and the pushes that it gets. */
async function joined(replay) {
  const client = replay.client();
  const texts = [];
  client.addEventListener("new_message", ({ detail }) => texts.push(detail.message.content));
  await client.connect();
  const { users, offset } = await client.join("s1");
  return { client, texts, users, offset };
}

test("a recorded side is played step by step", async () => {
  const replay = new WsReplay(RECORDING);
  assert.equal(replay.user, "alice");
  assert.equal(replay.left, 5);
  const { client, texts, users } = await joined(replay);
  assert.deepEqual(users.map((each) => each.user_id), ["bob"]);
  assert.deepEqual(texts, []);
  const first = await replay.until("new_message");
  assert.equal(first.offset, 41);
  assert.deepEqual(texts, ["Hello"]);
  const ack = await client.sendMessage("s1", "anything");
  assert.equal(ack.message_id, "msg_42");
  await replay.step();
  assert.deepEqual(texts, ["Hello", "xx"]);
  const joins = replay.commands.filter(({ type }) => type === "join_session");
  assert.deepEqual(joins.map((each) => each.session_id), ["s1"]);
  client.close();
});

test("a connection that broke off breaks off, and the flight goes on with the next one", async () => {
  const replay = new WsReplay(RECORDING);
  const { client, texts } = await joined(replay);
  let closed = 0;
  client.addEventListener("ws:close", () => (closed += 1));
  const order = await replay.until(({ type }) => type === "order.placed");
  assert.deepEqual(order.data, { order: 1 });
  assert.deepEqual(texts, ["Hello", "xx", "And again"]);
  assert.equal(closed, 1);
  assert.equal(replay.left, 0);
  assert.equal(await replay.until("new_message"), null);
  client.close();
});

test("all of it is played at once, or with its timing", async () => {
  for (const options of [{}, { speed: 1000 }]) {
    const replay = new WsReplay(RECORDING);
    const { client, texts } = await joined(replay);
    await replay.play(options);
    assert.deepEqual(texts, ["Hello", "xx", "And again"]);
    client.close();
  }
});

test("the side of another user is played if it is wanted", async () => {
  const replay = new WsReplay(RECORDING, { user: "bob" });
  const { client, texts, offset } = await joined(replay);
  assert.equal(offset, 40);
  await replay.play();
  assert.deepEqual(texts, ["for bob's side"]);
  await assert.rejects(client.sendMessage("s1", "x"), { code: "not_recorded" });
  await client.typing("s1");
  client.close();
});

test("other files are refused", () => {
  for (const other of [null, {}, { kind: "wsserver-client-report" }]) {
    assert.throws(() => new WsReplay(other), TypeError);
  }
  assert.throws(() => new WsReplay(RECORDING, { user: "nobody" }), RangeError);
});
