/** Files: resumable uploads by tus 1.0.0 (https://tus.io), loaded with the first one. */

import { DISCONNECTED, WsError, delayAfter } from "./errors.js";

const PATH = "/api/v1/websocket/files";
const FILE_TYPE = "application/vnd.wsserver.file+json";
const PART_BYTES = 4 * 1024 * 1024; // of one request; progress is reported after each
const TEMPORARY = [408, 409, 423, 460]; // and 500 and above: ask how far the upload is, go on

/**
 * What uploads need of a client.
 *
 * @typedef {object} Access
 * @property {string} url the server, as http(s) or ws(s)
 * @property {() => Promise<string | null>} token
 * @property {Storage} [storage] where uploads that are interrupted are remembered
 */

/**
 * An upload, which goes on by itself after interruptions.
 *
 *   progress   {sent, total}, in bytes
 *   state      {state}: "uploading", "waiting" (to try again), "paused", "done", "failed", "cancelled"
 */
export class Upload extends EventTarget {
  /** @type {File | Blob} */
  #file;
  #access;
  #options;
  #token = null;
  #address = null;
  #controller = new AbortController();
  #wake = () => {};
  #key = randomKey();
  #isSaying = false; // the server has the file, what belongs to it is on its way
  /** Bytes that the server has. */
  sent = 0;
  /** @type {"uploading" | "waiting" | "paused" | "done" | "failed" | "cancelled"} */
  state = "uploading";

  /**
   * @param {File | Blob} file
   * @param {Access} access
   * @param {{sessionId?: string, filename?: string, contentType?: string, partBytes?: number,
   *   then?: (fileId: string) => Promise<unknown>}} [options] `then`: what belongs to it, before it is done
   */
  constructor(file, access, options = {}) {
    super();
    this.#file = file;
    this.#access = access;
    this.#options = options;
    /** Resolves with the id of the file once the server has all of it; rejects with a `WsError`. */
    this.done = this.#run();
    this.done.catch(() => {}); // who does not wait for it has the state
  }

  get total() {
    return this.#file.size;
  }

  /** Stop sending until `resume`; what the server has stays there for a day. */
  pause() {
    if (this.#isSaying || (this.state !== "uploading" && this.state !== "waiting")) return;
    this.#set("paused");
    this.#interrupt();
  }

  resume() {
    if (this.state !== "paused") return;
    this.#set("uploading");
    this.#wake();
  }

  /** Give up, and remove what the server has; too late once its message is on its way. */
  cancel() {
    if (this.#isSaying || ["done", "failed", "cancelled"].includes(this.state)) return;
    this.#set("cancelled");
    this.#interrupt();
    this.#forget();
    if (this.#address !== null) this.#request("DELETE").catch(() => {}); // else it expires
  }

  async #run() {
    try {
      for (let attempt = 0; ; ) {
        if (this.state === "cancelled") throw failure("cancelled", "the upload was cancelled");
        if (this.state === "paused") {
          await this.#woken();
          continue;
        }
        const before = this.sent;
        try {
          return await this.#finished(await this.#send());
        } catch (error) {
          if (this.state !== "uploading") continue;
          if (!error.temporary) throw error;
          if (this.sent > before) attempt = 0;
          this.#set("waiting");
          const timer = setTimeout(() => this.#wake(), delayAfter(error, attempt++));
          await this.#woken();
          clearTimeout(timer);
          if (this.state === "waiting") this.#set("uploading");
        }
      }
    } catch (error) {
      if (this.state !== "cancelled") this.#set("failed");
      throw error;
    }
  }

  /** Send what is missing; the id of the file. */
  async #send() {
    this.#address ??= this.#access.storage?.getItem(this.#name) ?? null;
    let offset = 0;
    if (this.#address !== null) {
      try {
        offset = offsetIn(await this.#request("HEAD"));
      } catch (error) {
        if (error.details.status !== 404) throw error;
        this.#address = null; // it has expired, or is another user's
        this.#key = randomKey(); // the former one stands for what is gone
      }
    }
    if (this.#address === null) await this.#create();
    this.#progress(offset);
    const size = this.#options.partBytes ?? PART_BYTES;
    while (offset < this.total) {
      const part = this.#file.slice(offset, offset + size);
      const headers = {
        "Upload-Offset": String(offset),
        "Content-Type": "application/offset+octet-stream",
      };
      offset = offsetIn(await this.#request("PATCH", headers, part));
      this.#progress(offset);
    }
    return this.#address.split("/").pop();
  }

  async #create() {
    const { sessionId, filename, contentType } = this.#options;
    const metadata = {
      filename: filename ?? this.#file.name,
      content_type: contentType ?? this.#file.type,
      session_id: sessionId,
    };
    const answer = await this.#request("POST", {
      "Upload-Length": String(this.total),
      "Upload-Metadata": Object.entries(metadata)
        .filter(([, value]) => value)
        .map(([name, value]) => `${name} ${base64(value)}`)
        .join(),
      "Idempotency-Key": this.#key,
    });
    this.#address = new URL(answer.headers.get("Location"), answer.url).href;
    try {
      this.#access.storage?.setItem(this.#name, this.#address);
    } catch {
      // A full storage: the upload cannot be found again after the page has gone.
    }
  }

  async #finished(fileId) {
    this.#forget();
    this.#isSaying = true;
    try {
      await this.#options.then?.(fileId);
    } finally {
      this.#isSaying = false;
    }
    this.#set("done");
    return fileId;
  }

  async #request(method, headers = {}, body = undefined) {
    const url = this.#address ?? base(this.#access.url) + PATH;
    const isFresh = this.#token === null;
    this.#token ??= await this.#access.token();
    if (this.#token === null) throw failure("no_credential", "uploads need a token, not a ticket");
    const all = { Authorization: `Bearer ${this.#token}`, "Tus-Resumable": "1.0.0", ...headers };
    const { signal } = method === "DELETE" ? {} : this.#controller;
    const answer = await asked(url, { method, headers: all, body, signal });
    if (answer.ok) return answer;
    if (answer.status === 401 && !isFresh) {
      this.#token = null;
      return this.#request(method, headers, body);
    }
    throw await refusal(answer);
  }

  #interrupt() {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#wake();
  }

  #woken() {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  get #name() {
    const { name = "", size, lastModified = "" } = this.#file;
    return `wsserver:upload ${this.#options.sessionId ?? ""} ${size} ${lastModified} ${name}`;
  }

  #forget() {
    this.#access.storage?.removeItem(this.#name);
  }

  #progress(sent) {
    this.sent = sent;
    this.#emit("progress", { sent, total: this.total });
  }

  #set(state) {
    this.state = state;
    this.#emit("state", { state });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Upload a file and say it in a session; see `WsClient.sendFile`. */
export function sendFile(client, access, sessionId, file, options) {
  const send = (fileId) =>
    client.sendMessage(sessionId, { file_id: fileId }, { contentType: FILE_TYPE });
  return new Upload(file, access, { ...options, sessionId, then: send });
}

/** An address of a file that needs no token for ten minutes. */
export async function fileUrl({ url, token }, fileId) {
  const headers = { Authorization: `Bearer ${await token()}` };
  const answer = await asked(`${base(url)}${PATH}/${encodeURIComponent(fileId)}/url`, { headers });
  if (!answer.ok) throw await refusal(answer);
  return new URL((await answer.json()).url, answer.url).href;
}

async function asked(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw failure(DISCONNECTED, String(error?.message ?? error), true);
  }
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({})); // none after HEAD, or of a proxy
  const { status } = answer;
  return new WsError({
    ...problem,
    code: problem.code ?? `http_${status}`,
    message: problem.detail ?? `refused with status ${status}`,
    status,
    temporary: status >= 500 || TEMPORARY.includes(status),
  });
}

function randomKey() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function failure(code, message, temporary = false) {
  return new WsError({ code, message, temporary });
}

function offsetIn(answer) {
  return Number(answer.headers.get("Upload-Offset"));
}

function base(url) {
  return url.replace(/^ws/, "http").replace(/\/$/, "");
}

function base64(text) {
  return btoa(String.fromCodePoint(...new TextEncoder().encode(text)));
}
