import assert from "node:assert/strict";
import { test } from "node:test";

import { Hub } from "../src/hub.js";

/** A hub with two tabs, what they were told, and what was sent. */
function shared() {
  const told = { "a.1": [], "b.1": [], "c.1": [] };
  const sent = [];
  const socket = { send: (text) => sent.push(JSON.parse(text)), close: () => {} };
  const hub = new Hub("a", (ids, message) => {
    const what = message.kind === "text" ? JSON.parse(message.text) : message;
    for (const id of ids) told[id].push(what);
  });
  hub.attach("a.1");
  hub.open(socket);
  const hear = (push) => socket.onmessage({ data: JSON.stringify(push) });
  hear({
    type: "connection_established",
    user_id: "u",
    max_message_bytes: 300,
    inbox: { epoch: "e", offset: 0, pending: 0 },
  });
  hub.attach("b.1");
  const say = (id, command) => hub.receive(id, JSON.stringify(command));
  const clear = () => {
    for (const list of [sent, ...Object.values(told)]) list.length = 0;
  };
  clear();
  return { hub, socket, told, sent, hear, say, clear };
}

test("each tab gets the replies to its own commands", () => {
  const { told, sent, hear, say } = shared();
  say("a.1", { type: "ping", ref: 1 });
  say("b.1", { type: "ping", ref: 1 });
  hear({ type: "pong", ref: sent[1].ref, data: "b" });
  hear({ type: "pong", ref: sent[0].ref, data: "a" });
  assert.deepEqual(told["a.1"], [{ type: "pong", ref: 1, data: "a" }]);
  assert.deepEqual(told["b.1"], [{ type: "pong", ref: 1, data: "b" }]);
});

test("a session is left when the last tab leaves it, also by dying", () => {
  const { hub, told, sent, hear, say, clear } = shared();
  for (const id of ["a.1", "b.1"]) {
    say(id, { type: "join_session", ref: 1, session_id: "s1" });
    hear({ type: "session_joined", ref: sent.at(-1).ref, session_id: "s1" });
  }
  clear();
  say("a.1", { type: "leave_session", ref: 2, session_id: "s1" });
  assert.deepEqual(sent, []);
  assert.equal(told["a.1"][0].type, "session_left");
  hear({ type: "typing", session_id: "s1" });
  assert.equal(told["a.1"].length, 1);
  assert.equal(told["b.1"].length, 1);
  hub.detachTab("b");
  assert.deepEqual(sent.map(({ type, session_id: id }) => [type, id]), [["leave_session", "s1"]]);
});

test("a refused join leaves no trace, a refused resume neither", () => {
  const { told, sent, hear, say } = shared();
  say("b.1", { type: "join_session", ref: 1, session_id: "s1" });
  hear({ type: "error", ref: sent[0].ref, error: { code: "forbidden" } });
  say("b.1", { type: "resume", ref: 2, streams: { "session:s1": {}, broadcast: {} } });
  hear({
    type: "resumed",
    ref: sent[1].ref,
    streams: { "session:s1": { recovered: false, reason: "forbidden" }, broadcast: {} },
  });
  hear({ type: "new_message", id: "m", stream: "session:s1", epoch: "e", offset: 1 });
  assert.deepEqual(told["b.1"].map(({ type }) => type), ["error", "resumed"]);
});

test("a tab that is added gets the state of the connection, and what waits in the inbox", () => {
  const { hub, told, sent, hear, say } = shared();
  for (const n of [1, 2]) {
    hear({ type: "hint", id: `m${n}`, stream: "user:u", epoch: "e", offset: n });
  }
  say("a.1", { type: "ack", ref: 1, ids: ["m1"] });
  hear({ type: "ack", ref: sent[0].ref, acknowledged: 1 });
  hub.attach("c.1");
  assert.deepEqual(told["c.1"][0].inbox, { epoch: "e", offset: 2, pending: 0 });
  assert.deepEqual(told["c.1"].slice(1).map(({ id }) => id), ["m2"]);
});

test("a receipt is sent once, and again after the message has come again", () => {
  const { told, sent, hear, say } = shared();
  const push = { type: "hint", id: "m1", stream: "user:u", epoch: "e", offset: 1 };
  hear(push);
  say("a.1", { type: "ack", ref: 1, ids: ["m1"] });
  hear({ type: "ack", ref: sent[0].ref, acknowledged: 1 });
  say("b.1", { type: "ack", ref: 1, ids: ["m1"] });
  assert.equal(sent.length, 1);
  assert.deepEqual(told["b.1"].at(-1), { type: "ack", acknowledged: 0, ref: 1 });
  hear({ ...push, redelivered: true });
  say("b.1", { type: "ack", ref: 2, ids: ["m1"] });
  assert.equal(sent.length, 2);
});

test("the hub answers pings, one tab renews the token, a command too big ends nothing", () => {
  const { told, sent, hear, say, clear } = shared();
  hear({ type: "ping", id: "p1" });
  say("a.1", { type: "pong", id: "p1" });
  assert.deepEqual(sent, [{ type: "pong", id: "p1" }]);
  clear();
  hear({ type: "token_expiring" });
  assert.deepEqual([told["a.1"].length, told["b.1"].length], [1, 0]);
  clear();
  say("b.1", { type: "send_message", ref: 1, content: "语".repeat(100) });
  assert.deepEqual([sent.length, told["b.1"][0].error.code], [0, "message_too_big"]);
});

test("when the connection ends every tab learns why, and nothing goes on", () => {
  const { hub, socket, told, sent, say } = shared();
  socket.onclose({ code: 4010, reason: "token expired" });
  const end = { kind: "close", code: 4010, reason: "token expired" };
  assert.deepEqual([told["a.1"], told["b.1"]], [[end], [end]]);
  say("a.1", { type: "ping", ref: 1 });
  socket.onmessage({ data: '{"type":"late"}' });
  assert.equal(told["a.1"].length, 1);
  assert.equal(sent.length, 0);
  assert.equal(hub.isOpen, false);
});
