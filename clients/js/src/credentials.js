/** Tokens and tickets: asks their providers, and takes only what can be a token. Shows none. */

import { WsError } from "./errors.js";

const PROTOCOL = "wsserver.v1";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // what a subprotocol may hold (RFC 9110 §5.6.2)
const TEXT_LIMIT = 200;

/** The WebSocket's query and subprotocols that prove who connects.
 * @typedef {{query: string, protocols: string[], token: string | null}} Credential */

export class Credentials {
  #token;
  #tokenProvider;
  #ticketProvider;
  #timeoutMs;

  constructor({ token, tokenProvider, ticketProvider, connectTimeoutMs }) {
    this.#token = token;
    this.#tokenProvider = tokenProvider;
    this.#ticketProvider = ticketProvider;
    this.#timeoutMs = connectTimeoutMs;
  }

  /** May the next one be another than the last one? */
  get isRenewable() {
    return Boolean(this.#tokenProvider ?? this.#ticketProvider);
  }

  /** Can a token be had while a connection goes on? */
  get hasTokens() {
    return !this.#ticketProvider && Boolean(this.#tokenProvider);
  }

  /**
   * The credential for the next connection; null: there is none any more. Rejects with a
   * `WsError`, which is temporary if the provider may do better next time.
   *
   * @returns {Promise<Credential | null>}
   */
  async next() {
    if (this.#ticketProvider) {
      const ticket = await this.#ask("ticketProvider", this.#ticketProvider);
      const query = `?ticket=${encodeURIComponent(ticket)}`;
      return ticket === null ? null : { query, protocols: [PROTOCOL], token: null };
    }
    const token = await this.bearer();
    return token === null ? null : { query: "", protocols: [PROTOCOL, `bearer.${token}`], token };
  }

  /** A token of the provider; null: there is none any more. */
  token() {
    return this.#ask("tokenProvider", this.#tokenProvider);
  }

  /** A token for a request; null: there is none, or only tickets. */
  async bearer() {
    return this.#tokenProvider ? this.token() : this.#fixed();
  }

  #fixed() {
    if (this.#token === undefined || this.#token === null || this.#token === "") return null;
    return checked("token", this.#token, false);
  }

  async #ask(name, provider) {
    let timer;
    const late = new Promise((_, reject) => {
      const message = `${name} gave no answer within ${this.#timeoutMs} ms`;
      timer = setTimeout(() => reject(failed(message)), this.#timeoutMs);
    });
    let given;
    try {
      given = await Promise.race([provider(), late]);
    } catch (error) {
      if (error instanceof WsError) throw error;
      throw failed(`${name} failed: ${withoutTokens(error?.message ?? error)}`);
    } finally {
      clearTimeout(timer);
    }
    return given === null ? null : checked(name, given, true);
  }
}

/** The token without blanks around it, such as the newline at the end of a file. */
function checked(name, given, temporary) {
  if (typeof given !== "string") {
    throw failed(`${name}: a value of type ${typeof given} instead of a string`, temporary);
  }
  const token = given.trim();
  if (token === "") throw failed(`${name}: an empty string`, temporary);
  if (!TOKEN.test(token)) {
    // A page of HTML, or JSON around the token. The text itself may hold the token.
    const some = "some of which no token has (blanks, quotes, brackets, slashes)";
    throw failed(`${name}: ${token.length} characters, ${some}`, temporary);
  }
  return token;
}

function failed(message, temporary = true) {
  return new WsError({ code: "no_credential", message, temporary });
}

/** A provider's own error may quote the answer that it could not read. */
function withoutTokens(text) {
  return String(text).slice(0, TEXT_LIMIT).replace(/eyJ[\w-]*(\.[\w-]*)*|[\w-]{20,}/g, "…");
}
