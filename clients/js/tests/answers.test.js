import assert from "node:assert/strict";
import { test } from "node:test";

import { Answers } from "../src/answers.js";
import { FakeServer } from "../testing/index.js";

/** A client in s1, and the answers that it was given. */
async function page(server, id = "alice", options = {}) {
  const client = server.client(id, options);
  const answers = [];
  client.addEventListener("ws:answer", ({ detail }) => answers.push(detail.answer));
  await client.connect();
  await client.join("s1");
  return { client, answers };
}

function once(target, name) {
  return new Promise((resolve) => target.addEventListener(name, resolve, { once: true }));
}

test("an answer grows, and is whole in the end", async () => {
  const server = new FakeServer();
  const { client, answers } = await page(server);
  const said = [];
  client.addEventListener("answer_ended", ({ detail }) => said.push(detail.state));
  const producer = server.startAnswer("s1");
  await server.idle();
  const [answer] = answers;
  assert.equal(answer, client.answer(producer.id));
  answer.addEventListener("text", ({ detail }) => said.push(detail.text));
  answer.addEventListener("end", () => said.push("end"));
  producer.append("It ");
  producer.append("should 🙂 fit");
  await server.idle();
  assert.deepEqual([answer.text, answer.isGrowing], ["It should 🙂 fit", true]);
  producer.finish({ state: "failed", content: "No.", reason: "broken" });
  await server.idle();
  assert.deepEqual(said, ["It ", "should 🙂 fit", "end", "failed"]);
  assert.deepEqual([answer.text, answer.state, answer.reason], ["No.", "failed", "broken"]);
  assert.equal(answer.message.content, "No.");
  assert.equal(answers.length, 1);
  assert.deepEqual(client.answers, []);
  client.close();
});

test("who comes in the middle, once more or after a gap has the whole text", async () => {
  const server = new FakeServer();
  const producer = server.startAnswer("s1", { content: "so " });
  producer.append("far ");
  const { client, answers } = await page(server);
  assert.equal(answers[0].text, "so far ");
  producer.append("so ");
  server.stop();
  await server.idle();
  producer.append("good");
  server.start();
  await once(client, "ws:rejoined");
  assert.equal(answers[0].text, "so far so good");
  client.close();
});

test("a text that was missed is read from history", async () => {
  const server = new FakeServer();
  const { client, answers } = await page(server);
  const producer = server.startAnswer("s1", { content: "one " });
  await server.idle();
  const asked = () => server.commands.filter(({ type }) => type === "history").length;
  server.push("answer_appended", {
    session_id: "s1",
    message_id: producer.id,
    seq: 9,
    at: 40,
    text: "!",
  });
  producer.append("two");
  await server.idle();
  assert.equal(answers[0].text, "one two");
  assert.equal(asked(), 1);
  producer.append(" three");
  await server.idle();
  assert.equal(answers[0].text, "one two three");
  assert.equal(asked(), 1);
  client.close();
});

test("a member stops it", async () => {
  const server = new FakeServer();
  const { client, answers } = await page(server);
  const producer = server.startAnswer("s1");
  producer.append("too much");
  await client.cancelAnswer(producer.id, "enough");
  await server.idle();
  assert.deepEqual([answers[0].state, answers[0].reason], ["cancelled", "enough"]);
  assert.equal(producer.append(" more"), false);
  await client.cancelAnswer(producer.id);
  await assert.rejects(client.cancelAnswer("msg_none"), { code: "not_found" });
  client.close();
});

test("an answer that was deleted is empty, and one of a session that was left is forgotten", async () => {
  const server = new FakeServer();
  const { client, answers } = await page(server);
  const producer = server.startAnswer("s1", { content: "secret" });
  await server.idle();
  server.remove(producer.id);
  await server.idle();
  assert.deepEqual([answers[0].state, answers[0].text], ["cancelled", ""]);
  server.startAnswer("s1");
  await server.idle();
  assert.equal(client.answers.length, 1);
  await client.leave("s1");
  assert.equal(client.answers.length, 0);
  client.close();
});

test("a text goes back where another server has taken it over", () => {
  const seen = [];
  const answers = new Answers({ emit: (_, { answer }) => seen.push(answer), history: () => {} });
  const message = { id: "m", state: "growing", content: "🙂ab" };
  answers.seen({ type: "new_message", session_id: "s1", offset: 1, message });
  const piece = { session_id: "s1", message_id: "m" };
  answers.appended({ ...piece, at: 3, text: "🙂" });
  answers.appended({ ...piece, at: 2, text: "" });
  assert.equal(seen[0].text, "🙂a");
  answers.appended({ ...piece, at: 2, text: "c" });
  assert.equal(seen[0].text, "🙂ac");
});

test("an answer that ended while the network was away has ended", async () => {
  const server = new FakeServer();
  const { client, answers } = await page(server);
  const producer = server.startAnswer("s1");
  await server.idle();
  server.stop();
  await server.idle();
  producer.append("all of it");
  producer.finish();
  server.start();
  await once(client, "ws:rejoined");
  assert.deepEqual([answers[0].text, answers[0].state], ["all of it", "completed"]);
  client.close();
});
