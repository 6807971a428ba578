/** Uploads that are cancelled late, or come back too late. */

import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";

import { Upload } from "../src/files.js";

const ADDRESS = "http://server.test/api/v1/websocket/files/";
const access = { url: "http://server.test", token: async () => "t" };
const { fetch } = globalThis;
let server;

/** A server of uploads in memory, which answers a repeated Idempotency-Key as before. */
beforeEach(() => {
  server = { files: new Map(), keys: new Map(), requests: [], isBroken: false };
  globalThis.fetch = async (url, { method, headers, body }) => {
    server.requests.push(method);
    if (method === "POST") {
      const key = headers["Idempotency-Key"];
      if (!server.keys.has(key)) {
        server.keys.set(key, `file_${server.keys.size + 1}`);
        server.files.set(server.keys.get(key), 0);
      }
      const created = { status: 201, headers: { Location: ADDRESS + server.keys.get(key) } };
      return Object.defineProperty(new Response(null, created), "url", { value: url });
    }
    const id = url.slice(ADDRESS.length);
    if (!server.files.has(id)) return new Response(null, { status: 404 });
    if (method === "PATCH" && server.isBroken) return new Response(null, { status: 500 });
    if (method === "PATCH") server.files.set(id, server.files.get(id) + body.size);
    if (method === "DELETE") server.files.delete(id);
    return new Response(null, { status: 204, headers: { "Upload-Offset": server.files.get(id) } });
  };
});
after(() => (globalThis.fetch = fetch));

const reached = (upload, wanted) =>
  new Promise((resolve) =>
    upload.addEventListener("state", ({ detail }) => detail.state === wanted && resolve()),
  );

test("a file whose message is on its way is neither removed nor paused", async () => {
  let say;
  const asked = new Promise((resolve) => {
    say = (id) => new Promise((acknowledge) => resolve({ id, acknowledge }));
  });
  const upload = new Upload(new Blob(["text"]), access, { then: say });
  const { acknowledge } = await asked;
  upload.cancel();
  upload.pause();
  acknowledge();
  assert.equal(await upload.done, "file_1");
  assert.deepEqual([upload.state, server.requests], ["done", ["POST", "PATCH"]]);
});

test("an upload that has expired begins anew", async () => {
  server.isBroken = true;
  const upload = new Upload(new Blob(["text"]), access);
  await reached(upload, "waiting");
  upload.pause();
  server.files.clear();
  server.isBroken = false;
  upload.resume();
  assert.equal(await upload.done, "file_2");
});
