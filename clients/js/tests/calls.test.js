/** Calls of a page that goes while they begin. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { RtcCalls } from "../src/rtc.js";
import { FakeServer } from "../testing/index.js";

const VIEW = {
  call_id: "call_1",
  session_id: "s1",
  state: "ringing",
  reason: null,
  media: ["audio"],
  by: null,
  caller: { user_id: "alice", username: null, connection_id: "c1", connected: true },
  callee: null,
  created_at: "2026-01-01T00:00:00Z",
  rings_until: "2026-01-01T00:00:45Z",
  answered_at: null,
};

/** The calls of a page, whose microphone is there once `allow` is called. */
async function page(userId) {
  const server = new FakeServer();
  const client = server.client(userId);
  await client.connect();
  await client.join("s1");
  let allow;
  const asked = new Promise((resolve) => (allow = resolve));
  const track = { kind: "audio", enabled: true, isStopped: false, stop: () => (track.isStopped = true) };
  const calls = new RtcCalls(client, { getMedia: () => asked });
  const sent = () => server.commands.map(({ type }) => type).filter((type) => type.startsWith("call"));
  return { server, client, calls, track, sent, allow: () => allow({ getTracks: () => [track] }) };
}

test("a page that has gone while the browser asked for the microphone calls nobody", async () => {
  const { client, calls, track, sent, allow } = await page("alice");
  const starting = calls.start("s1");
  calls.close();
  allow();
  await assert.rejects(starting, { code: "cancelled" });
  assert.deepEqual([sent(), track.isStopped], [[], true]);
  client.close();
});

test("a call that rings only after its page has gone is cancelled", async () => {
  const { server, client, calls, track, sent, allow } = await page("alice");
  server.answer("call", () => {
    calls.close();
    return { type: "call", call: VIEW, ice_servers: [] };
  });
  allow();
  await assert.rejects(calls.start("s1"), { code: "cancelled" });
  await server.idle();
  assert.deepEqual([sent(), track.isStopped], [["call", "call_cancel"], true]);
  client.close();
});

test("a page that has gone while it was about to answer does not answer", async () => {
  const { server, client, calls, track, sent, allow } = await page("bob");
  server.push("call_incoming", VIEW);
  await server.idle();
  const [call] = calls.calls;
  const answering = call.answer();
  calls.close();
  allow();
  await assert.rejects(answering, { code: "bad_call_state" });
  assert.deepEqual([sent(), track.isStopped, calls.calls], [[], true, []]);
  client.close();
});
