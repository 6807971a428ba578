import assert from "node:assert/strict";
import { test } from "node:test";

import { Saved } from "../src/saved.js";
import { FakeServer } from "../testing/index.js";

class Memory extends Map {
  writes = [];
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => (this.writes.push(key), this.set(key, value));
  removeItem = (key) => this.delete(key);
}

test("a thousand streams outlive the page, and a message writes its own alone", () => {
  const storage = new Memory();
  const saved = new Saved(storage, "u");
  saved.load("alice");
  for (let n = 0; n < 1001; n++) saved.set(`session:s${n}`, { epoch: "e", offset: n });
  storage.writes = [];
  saved.set("session:s7", { epoch: "e", offset: 99 });
  assert.deepEqual(storage.writes, ["wsserver:u session:s7"]);
  const loaded = new Saved(storage, "u").load("alice");
  assert.equal(loaded.length, 1000);
  assert.deepEqual(loaded.find(([name]) => name === "session:s7")[1], { epoch: "e", offset: 99 });
  assert.equal(storage.getItem("wsserver:u session:s0"), null);
});

test("positions of another user are removed, those of a first version taken", () => {
  const storage = new Memory();
  const saved = new Saved(storage, "u");
  saved.load("alice");
  saved.set("session:s1", { epoch: "e", offset: 1 });
  assert.deepEqual(new Saved(storage, "u").load("bob"), []);
  assert.equal(storage.getItem("wsserver:u session:s1"), null);
  const streams = [["session:s1", { epoch: "e", offset: 3 }]];
  storage.setItem("wsserver:u", JSON.stringify({ user_id: "bob", streams }));
  assert.deepEqual(new Saved(storage, "u").load("bob"), streams);
});

test("a page that is loaded again goes on where it was", async () => {
  const server = new FakeServer();
  const storage = new Memory();
  const page = async () => {
    const client = server.client("alice", { storage });
    const texts = [];
    client.addEventListener("new_message", ({ detail }) => texts.push(detail.message.content));
    client.addEventListener("notification", ({ detail }) => texts.push(detail.notification.title));
    await client.connect();
    await client.join("s1");
    return { client, texts };
  };
  const first = await page();
  server.say("s1", "one");
  server.notify("alice", { title: "note" });
  await server.idle();
  first.client.close();
  server.say("s1", "two");
  const second = await page();
  await server.idle();
  assert.deepEqual(first.texts, ["one", "note"]);
  assert.deepEqual(second.texts, ["two"]);
  second.client.close();
});
