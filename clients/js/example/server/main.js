/**
 * The backend of the example: serves the page, signs people in, and lets the assistant answer.
 *
 *   npm install
 *   npm start
 *
 * It starts a wsserver of its own, on a free port, with its data in `var/`. With PORT the page has
 * another port than 5173.
 */

import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

import { Assistant } from "./assistant.js";
import { PEOPLE, Shop } from "./shop.js";
import { isSigned } from "./signatures.js";
import { startWsserver } from "./wsserver.js";

const HERE = fileURLToPath(new URL("..", import.meta.url));
/** What is served, by the beginning of the path: the page, the client as it is, and Vue. */
const FOLDERS = {
  "/client/src/": join(HERE, "../src"),
  "/client/vue/": join(HERE, "../vue"),
  "/vue/": join(HERE, "node_modules/vue/dist"),
  "/": join(HERE, "page"),
};
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
/** What is done about the events of wsserver. */
const EVENTS = {
  message_received: (event) => assistant.heard(event),
  holder_changed: (event) => shop.held(event),
};
const BODY_LIMIT = 1024 * 1024;

if (!existsSync(FOLDERS["/vue/"])) {
  console.error("Vue is not installed: run `npm install` first");
  process.exit(1);
}

const listener = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    send(response, error.status ?? 500, { error: error.message });
  });
});
listener.listen(Number(process.env.PORT ?? 5173), "127.0.0.1", start);
listener.on("error", (error) => {
  console.error(error.code === "EADDRINUSE" ? "that port is in use: PORT=5174 npm start" : error);
  process.exit(1);
});

let shop;
let assistant;
let wsserver;

async function start() {
  const page = `http://127.0.0.1:${listener.address().port}`;
  wsserver = await startWsserver({ page, dataFolder: join(HERE, "var") });
  shop = new Shop(wsserver);
  assistant = new Assistant(wsserver.api, shop);
  console.log(`\nOpen ${page} in two windows: one is the customer's, one that of the shop.`);
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    wsserver?.stop();
    listener.close();
    listener.closeAllConnections();
  });
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  if (request.method === "GET" && pathname === "/people") {
    return send(response, 200, { people: PEOPLE, url: wsserver?.url ?? null });
  }
  if (request.method === "POST" && pathname === "/token") {
    // An example: in an application the cookie of a signed-in user says who it is.
    const { person } = JSON.parse(await body(request));
    if (wsserver === undefined) return send(response, 503, { error: "wsserver is starting" });
    return send(response, 200, { token: await shop.tokenOf(person) });
  }
  if (request.method === "POST" && pathname === "/events") {
    const text = await body(request);
    const signature = request.headers["x-wsserver-signature"] ?? "";
    if (!isSigned(text, signature, wsserver?.webhookSecret)) return send(response, 403, {});
    send(response, 200, {}); // at once: the answer takes longer than a webhook may
    const event = JSON.parse(text);
    return EVENTS[event.name]?.(event);
  }
  if (request.method !== "GET") return send(response, 405, {});
  return file(pathname, response);
}

function file(pathname, response) {
  const prefix = Object.keys(FOLDERS).find((each) => pathname.startsWith(each));
  const relative = normalize(decodeURIComponent(pathname.slice(prefix.length)) || "index.html");
  const path = join(FOLDERS[prefix], relative);
  const isInside = path.startsWith(FOLDERS[prefix] + sep);
  const type = TYPES[extname(path)];
  if (!isInside || !type || !existsSync(path)) return send(response, 404, { error: "not found" });
  response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-cache" });
  createReadStream(path).pipe(response);
}

async function body(request) {
  let text = "";
  request.setEncoding("utf8");
  for await (const part of request) {
    text += part;
    if (text.length > BODY_LIMIT) throw Object.assign(new Error("too large"), { status: 413 });
  }
  return text;
}

function send(response, status, content) {
  if (response.headersSent) return;
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(content));
}
