/** Messages that wait, in several sessions. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox } from "../src/outbox.js";

function outbox({ isOpen = true, answer = async (fields) => fields } = {}) {
  const at = { isOpen, asked: 0, sent: [], underWay: 0, most: 0 };
  const send = async (fields) => {
    at.sent.push(fields.content);
    at.most = Math.max(at.most, ++at.underWay);
    await new Promise(setImmediate);
    at.underWay -= 1;
    return answer(fields);
  };
  const maySend = () => {
    at.asked += 1;
    return at.isOpen;
  };
  return { at, box: new Outbox(send, maySend, JSON.stringify) };
}

const say = (box, session_id, content) => box.add({ session_id, content });

test("messages of many sessions wait for a connection, and nothing else", async () => {
  const { at, box } = outbox({ isOpen: false });
  const acks = [];
  for (let n = 0; n < 30; n++) acks.push(say(box, `s${n % 10}`, n));
  box.flush();
  assert.ok(at.asked <= 40, `asked ${at.asked} times whether it may send`);
  assert.deepEqual([box.size, at.sent], [30, []]);

  at.isOpen = true;
  box.flush();
  await Promise.all(acks);
  assert.equal(box.size, 0);
  assert.deepEqual(at.sent.toSorted((a, b) => a - b), Array.from({ length: 30 }, (_, n) => n));
  assert.equal(at.most, 8);
});

test("within a session one goes after the other", async () => {
  const { at, box } = outbox();
  await Promise.all([say(box, "s1", 1), say(box, "s1", 2), say(box, "s2", 3), say(box, "s1", 4)]);
  assert.deepEqual(at.sent.filter((content) => content !== 3), [1, 2, 4]);
});
