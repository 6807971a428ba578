/** Starts wsserver for the example, and calls its REST API. */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { signToken } from "./signatures.js";

const SERVE = fileURLToPath(new URL("../../../../scripts/serve", import.meta.url));
const READY = /listening on (http:\/\/\S+)/;
const HOUR_S = 3600;

/** Start it with settings of its own; resolves once it listens. */
export function startWsserver({ page, dataFolder }) {
  const secret = randomBytes(32).toString("hex");
  const webhookSecret = randomBytes(32).toString("hex");
  mkdirSync(dataFolder, { recursive: true });
  const settings = {
    WSSERVER_PORT: "0",
    WSSERVER_DATA_DIR: dataFolder,
    WSSERVER_DATABASE: `${dataFolder}/wsserver.sqlite3`,
    WSSERVER_JWT_SECRET: secret,
    WSSERVER_ALLOWED_ORIGINS: page,
    WSSERVER_WEBHOOK_URLS: `${page}/events#message_received|holder_changed`,
    WSSERVER_WEBHOOK_SECRET: webhookSecret,
    WSSERVER_LOG_LEVEL: "warning",
  };
  const process_ = spawn(SERVE, [], {
    env: { ...process.env, ...settings },
    stdio: ["ignore", "inherit", "pipe"],
    detached: true, // Ctrl-C is for this process, which stops the other
  });
  return new Promise((resolve, reject) => {
    process_.once("error", reject);
    process_.once("exit", (code) => reject(new Error(`wsserver has ended with ${code}`)));
    process_.stderr.setEncoding("utf8").on("data", (text) => {
      process.stderr.write(text);
      const ready = READY.exec(text);
      if (ready === null) return;
      process_.removeAllListeners("exit");
      process_.once("exit", (code) => process.exit(code ?? 1));
      const stop = () => {
        process_.removeAllListeners("exit");
        process_.kill();
      };
      const url = ready[1].replace(/\/$/, "");
      resolve({ url, secret, webhookSecret, api: new Api(url, secret), stop });
    });
  });
}

/** The REST API, called as a service. */
class Api {
  #url;
  #secret;

  constructor(url, secret) {
    this.#url = `${url}/api/v1/websocket`;
    this.#secret = secret;
  }

  /** A request; resolves with the answer, rejects with an error that has `status` and `code`. */
  async call(method, path, body) {
    const exp = Math.floor(Date.now() / 1000) + HOUR_S;
    const claims = { sub: "shop", role: "admin", exp };
    const headers = {
      Authorization: `Bearer ${signToken(claims, this.#secret)}`,
      "Content-Type": "application/json",
    };
    const init = { method, headers, body: body && JSON.stringify(body) };
    const response = await fetch(this.#url + path, init);
    const answer = await response.json();
    if (response.ok) return answer;
    const { status, code, detail } = answer;
    throw Object.assign(new Error(`${method} ${path}: ${code} ${detail}`), { status, code });
  }
}
