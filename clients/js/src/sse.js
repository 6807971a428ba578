/**
 * Server-Sent Events for networks that let no WebSocket through. `EventSocket` is used in place of a
 * WebSocket: pushes come as the events of one response, commands go out in requests, one at a time.
 */

import { BAD_REQUEST, CONNECTION_LIMIT, RESTART } from "./closing.js";

const CONNECTING = 0; // readyState, as a WebSocket has it
const OPEN = 1;
const CLOSED = 3;
const ABNORMAL = 1006;
const TRY_LATER = 1013;
const TOKEN_EXPIRED = 4010;
/** Close codes of a refusal, by the code of the problem document. */
const CLOSE_CODES = {
  auth_ambiguous: BAD_REQUEST,
  bad_request: BAD_REQUEST,
  token_missing: 4500,
  token_invalid: 4500,
  token_expired: 4500,
  token_revoked: 4505,
  forbidden: 4503,
  connection_limit: CONNECTION_LIMIT,
  server_full: TRY_LATER,
  starting: TRY_LATER,
  draining: TRY_LATER,
  keys_unavailable: TRY_LATER,
};
const PROTOCOL = "wsserver.v1";
const BATCH = 100; // commands of one request
const BATCH_LENGTH = 256 * 1024; // of their texts together, in UTF-16 units
const PROBE_MS = 300_000; // until a WebSocket is tried again; doubles with each failure
const LONGEST_PROBE_MS = 3_600_000;
const PROBE_PATIENCE_MS = 15_000;
/** The reason with which an event stream ends once a WebSocket gets through. */
const BETTER = "a WebSocket gets through; reconnect_after_ms=0";
const FAULTS = new Set([400, 413, 422]); // of what was sent: it is not sent again

export class EventSocket {
  readyState = CONNECTING;
  onmessage = null;
  onclose = null;
  onerror = null;
  #address;
  #base; // of the server's event streams: …/sse
  #token; // null: the server knows by the ticket who we are
  #channel = null;
  #queue = []; // texts of commands
  #isSending = false;
  #abort = new AbortController();
  #options;
  #probeMs;
  #timer = 0;
  #probed = null; // the WebSocket that is being tried

  /**
   * @param {string} address of the WebSocket that does not get through
   * @param {import("./credentials.js").Credential} credential
   * @param {{WebSocket: typeof WebSocket, onBetter: () => void, probeMs?: number}} options
   *   `onBetter` is called when a WebSocket gets through
   */
  constructor(address, { query, token }, options) {
    this.#address = address;
    this.#token = token;
    this.#options = options;
    this.#probeMs = options.probeMs ?? PROBE_MS;
    const [base, path] = eventAddress(address);
    this.#base = base;
    this.#read(`${base}${path}${query}${query ? "&" : "?"}protocol=${PROTOCOL}`);
  }

  send(text) {
    // Events need no answer: the server sees by itself whether they can be written.
    if (this.readyState !== OPEN || text.startsWith('{"type":"pong"')) return;
    this.#queue.push(text);
    if (!this.#isSending) this.#flush();
  }

  close(code = 1000, reason = "") {
    queueMicrotask(() => this.#end(code, reason));
  }

  async #read(url) {
    try {
      const response = await fetch(url, { ...this.#request(), headers: this.#headers() });
      const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
      if (!response.ok || !isStream) {
        const { code, message } = await problemOf(response);
        this.#end(CLOSE_CODES[code] ?? ABNORMAL, message);
        return;
      }
      const texts = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await texts.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) this.#hear(event);
      }
    } catch {
      // the network, or `close`
    }
    this.#end(ABNORMAL, "");
  }

  #hear(event) {
    if (this.readyState === CLOSED) return;
    const { event: name, data } = Object.fromEntries(event.split("\n").map(fieldOf));
    if (name === "close") {
      const { code, reason } = JSON.parse(data);
      this.#end(code, reason);
    } else if (data !== undefined) {
      if (this.readyState === CONNECTING) this.#opened(JSON.parse(data));
      this.onmessage?.({ data });
    }
  }

  #opened({ channel }) {
    this.#channel = channel;
    this.readyState = OPEN;
    this.#probeLater();
  }

  // Commands

  /** Send what is queued, request after request: so the commands keep their order. */
  async #flush() {
    this.#isSending = true;
    while (this.#queue.length > 0 && this.readyState === OPEN) {
      try {
        await this.#post(this.#batch());
      } catch {
        this.#end(ABNORMAL, "commands could not be sent"); // whether they were executed is unknown
      }
    }
    this.#isSending = false;
  }

  #batch() {
    let length = 0;
    const tooMuch = this.#queue.findIndex((text) => (length += text.length) > BATCH_LENGTH);
    return this.#queue.splice(0, Math.min(BATCH, tooMuch < 1 ? BATCH : tooMuch));
  }

  async #post(texts) {
    const response = await fetch(`${this.#base}/commands`, {
      ...this.#request(),
      method: "POST",
      headers: {
        ...this.#headers(),
        "Content-Type": "application/json",
        "X-Wsserver-Channel": this.#channel,
      },
      body: `[${texts.join(",")}]`,
    });
    if (response.ok) {
      (await response.json()).forEach((reply, index) => this.#replied(texts[index], reply));
      return;
    }
    const problem = await problemOf(response);
    if (response.status === 401) this.#end(TOKEN_EXPIRED, problem.message);
    else if (!FAULTS.has(response.status)) this.#end(ABNORMAL, problem.message);
    else if (texts.length > 1) for (const text of texts) await this.#post([text]);
    else {
      const { ref } = JSON.parse(texts[0]);
      this.#say({ type: "error", ref, error: { ...problem, temporary: false } });
    }
  }

  #replied(text, reply) {
    if (reply === null) return;
    if (reply.type === "token_refreshed" && this.#token !== null) {
      this.#token = JSON.parse(text).token;
    }
    this.#say(reply);
  }

  #say(reply) {
    if (this.readyState === OPEN) this.onmessage?.({ data: JSON.stringify(reply) });
  }

  #headers() {
    return this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  #request() {
    return { cache: "no-store", signal: this.#abort.signal };
  }

  // Trying a WebSocket again

  #probeLater() {
    this.#timer = setTimeout(() => this.#probe(), this.#probeMs);
    this.#probeMs = Math.min(2 * this.#probeMs, LONGEST_PROBE_MS);
  }

  /** One without a credential: where it gets through, the server closes it with a code of its own. */
  #probe() {
    const socket = new this.#options.WebSocket(this.#address, [PROTOCOL]);
    this.#probed = socket;
    this.#timer = setTimeout(() => socket.close(), PROBE_PATIENCE_MS);
    socket.onerror = () => {};
    socket.onclose = ({ code }) => {
      clearTimeout(this.#timer);
      this.#probed = null;
      if (this.readyState !== OPEN) return;
      if (code < 4000) {
        this.#probeLater();
        return;
      }
      this.#options.onBetter();
      this.#end(RESTART, BETTER);
    };
  }

  #end(code, reason) {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#queue = [];
    clearTimeout(this.#timer);
    this.#probed?.close();
    this.#abort.abort();
    this.onclose?.({ code, reason });
  }
}

/** The address of the event stream that stands for a WebSocket: of the server, and the path below it. */
function eventAddress(address) {
  const place = address.lastIndexOf("/ws/chat");
  const server = address.slice(0, place).replace(/^ws/, "http");
  return [`${server}/sse`, address.slice(place + "/ws".length)];
}

function fieldOf(line) {
  const colon = line.indexOf(": ");
  return [line.slice(0, colon), line.slice(colon + 2)];
}

/** Code and message of a problem document; of a proxy's own page the status. */
async function problemOf(response) {
  const status = `HTTP ${response.status}`;
  try {
    const { code = status, detail = status } = await response.json();
    return { code, message: detail };
  } catch {
    return { code: status, message: status };
  }
}
