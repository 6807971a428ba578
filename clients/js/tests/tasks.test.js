import assert from "node:assert/strict";
import { test } from "node:test";

import { Tasks } from "../src/tasks.js";
import { FakeServer } from "../testing/index.js";

const task = (version, more = {}) => ({
  task_id: "task_1",
  title: "Call Ann",
  state: "pending",
  version,
  updated_at: `2024-01-15T14:30:0${version}.000Z`,
  ...more,
});

/** The tasks of a user, and the changes that were heard. */
async function user(server) {
  const client = server.client("alice");
  await client.connect();
  const tasks = new Tasks(client);
  const heard = [];
  tasks.addEventListener("change", ({ detail }) => heard.push(detail));
  return { client, tasks, heard };
}

const told = (server, each, changed = ["state"], by = "bob") =>
  server.push("task_update", { task: each, changed, by }, { user: "alice" });

test("of two versions the higher one counts, whatever the order", async () => {
  const server = new FakeServer();
  const { client, tasks, heard } = await user(server);
  for (const version of [1, 3, 2, 3]) told(server, task(version));
  told(server, task(1, { task_id: "task_2" }));
  await server.idle();
  assert.deepEqual(
    heard.map((each) => [each.task.task_id, each.task.version, each.by]),
    [["task_1", 1, "bob"], ["task_1", 3, "bob"], ["task_2", 1, "bob"]],
  );
  assert.deepEqual(tasks.tasks.map((each) => each.task_id), ["task_1", "task_2"]);
  assert.equal(tasks.get("task_1").version, 3);
  assert.equal(tasks.get("task_9"), null);
  client.close();
});

test("a task is changed and read by a command; what it says is heard once", async () => {
  const server = new FakeServer();
  const { client, tasks, heard } = await user(server);
  const asked = [];
  server.answer("task", (command) => {
    asked.push(command);
    return { type: "task", task: task(2, { state: command.state ?? "running" }) };
  });
  assert.equal((await tasks.update("task_1", { state: "running" })).state, "running");
  told(server, task(2, { state: "running" }));
  await tasks.read("task_1");
  await server.idle();
  assert.deepEqual(asked.map(({ task_id, state }) => [task_id, state]), [
    ["task_1", "running"],
    ["task_1", undefined],
  ]);
  assert.deepEqual(heard.map(({ changed, by }) => [changed, by]), [[["state"], null]]);
  server.refuse("task", "bad_transition");
  await assert.rejects(tasks.update("task_1", { state: "pending" }), { code: "bad_transition" });
  client.close();
});

test("after close nothing is heard", async () => {
  const server = new FakeServer();
  const { client, tasks, heard } = await user(server);
  tasks.close();
  told(server, task(1));
  await server.idle();
  assert.deepEqual(heard, []);
  client.close();
});

test("of many tasks those are held that have changed last", async () => {
  const server = new FakeServer();
  const { client, tasks } = await user(server);
  for (let n = 1; n <= 1000; n++) told(server, task(1, { task_id: `task_${n}` }));
  told(server, task(2));
  told(server, task(1, { task_id: "task_1001" }));
  await server.idle();
  assert.equal(tasks.tasks.length, 1000);
  assert.deepEqual([tasks.get("task_1").version, tasks.get("task_2")], [2, null]);
  client.close();
});
