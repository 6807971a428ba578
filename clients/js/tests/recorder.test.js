import assert from "node:assert/strict";
import { test } from "node:test";

import { Recorder } from "../src/recorder.js";
import { FakeServer } from "../testing/index.js";

const REPORT = [
  ...["kind", "version", "made_at", "runtime", "url", "endpoint", "state", "user_id"],
  ...["connection_id", "unsent", "sessions", "positions", "connections", "events"],
];
const STATE = { state: "open" };
const iso = (ms) => new Date(ms).toISOString();

/** A recorder whose clock is moved, connected at once to a server whose clock is `ahead`. */
function connected(ahead = 5000) {
  let now = 1_700_000_000_000;
  const recorder = new Recorder(() => now);
  const serverTime = () => iso(now + ahead);
  const established = (id) => {
    recorder.noted("connect");
    now += 20;
    const server_time = serverTime();
    now += 20;
    const push = { type: "connection_established", connection_id: id, server_time };
    recorder.received({ ...push, timestamp: server_time }, 300);
  };
  established("conn_1");
  const pass = (ms) => (now += ms);
  const clocks = () => recorder.report({ url: "https://a.test" }, STATE).connections.map((c) => c.clock);
  return { recorder, established, pass, serverTime, clocks };
}

test("a report has what happened to a message, and nothing of what was written", async () => {
  const server = new FakeServer();
  const url = "https://user:secret@chat.test/base?key=secret#secret";
  const alice = server.client("alice", { url, token: "secret-token" });
  const bob = server.client("bob");
  for (const client of [alice, bob]) {
    await client.connect();
    await client.join("s1");
  }
  await alice.sendMessage("s1", { secret: "secret" }, { clientMessageId: "c1" });
  server.say("s1", "secret", { from: "bob", username: "secret" });
  server.notify("secret-token", { title: "secret", message: "secret" });
  server.push("order.shipped", { data: { secret: "secret" } });
  server.answer("typing", () => ({ type: "error", error: { code: "odd", message: "secret" } }));
  await assert.rejects(alice.typing("s1"), { code: "odd" });
  await server.idle();
  server.disconnect(1006, "", "secret-token");
  await new Promise((resolve) => alice.addEventListener("ws:rejoined", resolve, { once: true }));
  const report = alice.report();
  assert.deepEqual(Object.keys(report), REPORT);
  assert.equal(report.url, "https://chat.test/base");
  const { user_id: _, ...shown } = report;
  assert.ok(!/secret(?!-token)/.test(JSON.stringify(shown)));
  const told = report.events.map(({ dir, type, ref, id, message_id, client_message_id: own }) =>
    [dir, type, ref, id ?? message_id ?? own].filter((each) => each !== undefined).join(" "),
  );
  const sent = told.findIndex((line) => /^out send_message \d+ c1$/.test(line));
  assert.match(told[sent + 1], /^in new_message msg_/);
  assert.match(told[sent + 2], /^in ack \d+ msg_/);
  assert.ok(told.includes("in order.shipped"));
  assert.ok(report.events.some(({ type, error }) => type === "error" && error.code === "odd"));
  const closed = report.events.findIndex(({ type }) => type === "close");
  assert.equal(report.events[closed].code, 1006);
  const resumed = report.events.findLastIndex(({ type }) => type === "resumed");
  assert.ok(closed < resumed);
  assert.ok(report.events[resumed].streams.some(({ stream }) => stream === "session:s1"));
  assert.equal(report.connections.length, 2);
  alice.close();
  bob.close();
});

test("only the last 200 events are kept, and odd ones do no harm", () => {
  const { recorder } = connected();
  const odd = [
    { type: "x".repeat(100_000), ids: "no list", messages: 7, streams: "text", error: "text" },
    { type: "resumed", streams: { s: null, t: { messages: [null, { id: {} }] } } },
    { type: "constructor", notification: [], offset: { deep: "secret" }, user_id: "u".repeat(9999) },
    { type: "connection_established", connection_id: 7, server_time: "no time" },
    { type: "pong", ref: {}, server_time: null },
  ];
  for (let n = 0; n < 60; n++) for (const push of odd) recorder.received(push, 1);
  recorder.noted("close", { code: 1006, reason: "r".repeat(9999), delayMs: null });
  const { events, connections } = recorder.report({ url: "u" }, STATE);
  assert.equal(events.length, 200);
  assert.equal(connections.length, 20);
  assert.ok(JSON.stringify(events).length < 100_000);
});

test("the clocks of both sides are compared, ever more exactly", () => {
  const { recorder, pass, serverTime, clocks } = connected();
  assert.deepEqual(clocks(), [{ offset_ms: 5000, error_ms: 20 }]);
  pass(1000);
  recorder.sent({ type: "ping", ref: 1 }, 20);
  pass(3);
  const answer = { type: "pong", ref: 1, server_time: serverTime() };
  pass(3);
  recorder.received(answer, 60);
  assert.deepEqual(clocks(), [{ offset_ms: 5000, error_ms: 3 }]);
});

test("a clock that was set makes what was known of it void, a new connection begins anew", () => {
  const { recorder, established, pass, serverTime, clocks } = connected();
  const heard = serverTime();
  pass(-60_000); // the user's clock is put back
  recorder.received({ type: "ping", id: "p1", timestamp: heard }, 20);
  assert.deepEqual(clocks(), [{ offset_ms: 65_000, error_ms: null }]);
  recorder.noted("close", { code: 1006, reason: "" });
  established("conn_2");
  assert.deepEqual(clocks()[1], { offset_ms: 5000, error_ms: 20 });
});
