import assert from "node:assert/strict";
import { test } from "node:test";

import { WsClient } from "../src/index.js";
import { FakeServer } from "../testing/index.js";

const now = () => new Date("2024-01-15T14:30:00Z");

/** A client, and what it was given. */
async function user(server, id, ...sessions) {
  const client = server.client(id);
  const seen = [];
  client.addEventListener("ws:push", ({ detail }) => seen.push(detail));
  await client.connect();
  for (const session of sessions) await client.join(session);
  return { client, seen, of: (type) => seen.filter((push) => push.type === type) };
}

test("two users talk, and the sender learns how far a message has come", async () => {
  const server = new FakeServer({ now });
  const alice = await user(server, "alice", "s1");
  const bob = await user(server, "bob", "s1");
  const ack = await alice.client.sendMessage("s1", "Hello");
  await bob.client.typing("s1");
  await server.idle();
  assert.equal(ack.offset, 1);
  assert.equal(bob.of("new_message")[0].message.content, "Hello");
  assert.equal(alice.of("typing")[0].user_id, "bob");
  assert.equal(alice.of("session_joined")[0].user_id, "bob");
  await new Promise((resolve) => setTimeout(resolve, 5));
  const [status] = alice.of("message_status_update");
  assert.deepEqual([status.status, status.user_id], ["delivered", "bob"]);
  const { users } = await alice.client.presence("s1");
  assert.deepEqual(users.map((each) => each.user_id), ["alice", "bob"]);
  alice.client.close();
  bob.client.close();
  await server.idle();
  assert.deepEqual(server.users, []);
});

test("what is said while the network is away arrives once, in order", async () => {
  const server = new FakeServer();
  const alice = await user(server, "alice", "s1");
  server.stop();
  await server.idle();
  const sending = alice.client.sendMessage("s1", "mine");
  for (const text of ["one", "two"]) server.say("s1", text, { from: "bob" });
  server.start();
  await sending;
  await server.idle();
  const texts = alice.of("new_message").map(({ message }) => message.content);
  assert.deepEqual(texts, ["one", "two", "mine"]);
  alice.client.close();
});

test("commands are refused, left unanswered and answered otherwise", async () => {
  const server = new FakeServer();
  const { client } = await user(server, "alice", "s1");
  server.refuse("send_message", "forbidden");
  await assert.rejects(client.sendMessage("s1", "x"), { code: "forbidden" });
  server.answer("send_message", null);
  await client.sendMessage("s1", "x");
  server.answer("presence", ({ session_id: id }) => ({ type: "presence", session_id: id, users: [] }));
  assert.deepEqual((await client.presence("s1")).users, []);
  await assert.rejects(client.command("no_such"), { code: "unknown_type" });
  assert.deepEqual(
    server.commands.filter(({ type }) => type === "send_message").map(({ content }) => content),
    ["x", "x"],
  );
  client.close();
});

test("a gap, a refusal and a bound session", async () => {
  const server = new FakeServer();
  const { client } = await user(server, "alice", "s1");
  const gap = new Promise((resolve) => client.addEventListener("ws:gap", resolve));
  server.say("s1", "old");
  await server.idle();
  server.forget("s1");
  server.disconnect();
  assert.equal((await gap).detail.reason, "epoch_changed");
  server.refuseConnections(4503, "no");
  server.disconnect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(client.state, "closed");
  server.refuseConnections(null);
  const bound = server.client("bob", { sessionId: "s9" });
  const joined = new Promise((resolve) => bound.addEventListener("session_joined", resolve));
  await bound.connect();
  assert.equal((await joined).detail.session_id, "s9");
  bound.close();
});

test("an inbox waits for its user, and is settled once", async () => {
  const server = new FakeServer();
  server.notify("alice", { title: "Later", type: "warning" });
  const first = await user(server, "alice");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(first.of("notification")[0].notification.title, "Later");
  const second = await user(server, "alice");
  await server.idle();
  assert.equal(second.of("notification").length, 0);
  first.client.close();
  second.client.close();
});

test("provider faults are temporary, the end is what a provider says it is", async () => {
  const server = new FakeServer();
  const faults = [
    async () => "<!doctype html><title>502 Bad Gateway</title>",
    async () => "",
    async () => JSON.parse(""),
    async () => undefined,
    async () => "alice",
  ];
  const client = new WsClient({
    url: "http://server.test",
    tokenProvider: () => faults.shift()(),
    WebSocket: server.WebSocket,
    minDelayMs: 0,
    maxDelayMs: 0,
  });
  const closes = [];
  client.addEventListener("ws:close", ({ detail }) => closes.push(detail.willReconnect));
  await client.connect();
  assert.deepEqual(closes, [true, true, true, true]);
  client.close();
});
