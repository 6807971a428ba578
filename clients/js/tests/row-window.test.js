import assert from "node:assert/strict";
import { test } from "node:test";

import { RowWindow } from "../vue/row-window.js";

const keys = (count, from = 0) => Array.from({ length: count }, (_, n) => `k${from + n}`);

test("rows have the heights that were measured, the others a mean of the first ones", () => {
  const rows = new RowWindow();
  rows.setKeys(keys(100));
  assert.equal(rows.height, 6400);
  assert.equal(rows.measure(keys(40).map((key) => [key, 20])), true);
  assert.equal(rows.height, 2000);
  assert.equal(rows.measure([["k50", 120]]), true);
  assert.equal(rows.height, 2100);
  assert.equal(rows.measure([["k50", 120.2], ["k0", 20]]), false);
  assert.deepEqual([rows.top(50), rows.top(51), rows.top(100)], [1000, 1120, 2100]);
  rows.forget();
  assert.equal(rows.height, 2000);
});

test("the rows in view are found, also above and below everything", () => {
  const rows = new RowWindow();
  assert.deepEqual(rows.range(0, 500), [0, 0]);
  rows.setKeys(keys(10));
  rows.measure(keys(10).map((key) => [key, 50]));
  assert.deepEqual(rows.range(100, 249), [2, 5]);
  assert.deepEqual(rows.range(-500, 0), [0, 1]);
  assert.deepEqual(rows.range(400, 9999), [8, 10]);
  assert.deepEqual(rows.range(9999, 99_999), [9, 10]);
});

test("a row is found again after others have come before it, or have gone", () => {
  const rows = new RowWindow();
  rows.setKeys(keys(100));
  assert.equal(rows.indexOf("k7", 7), 7);
  rows.setKeys([...keys(50, 1000), ...keys(100)]);
  assert.equal(rows.indexOf("k7", 7), 57);
  rows.setKeys(keys(93, 7));
  assert.equal(rows.indexOf("k7", 57), 0);
  assert.equal(rows.indexOf("k6", 57), -1);
  rows.setKeys([]);
  assert.equal(rows.indexOf("k7", 3), -1);
});

test("heights of rows that have gone for good are forgotten", () => {
  const rows = new RowWindow();
  rows.setKeys(keys(3000));
  rows.measure(keys(3000).map((key) => [key, 10]));
  rows.setKeys(keys(5, 2995));
  rows.setKeys(keys(3000));
  assert.ok(rows.height > 10 * 5);
  assert.equal(rows.top(2999) - rows.top(2998), 10);
});
