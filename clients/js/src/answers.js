/** Answers that grow: puts the text of each together from what comes. */

const GROWING = "growing";

/**
 * A message whose text grows, or has grown. Its events: `text` after each change, with
 * `{at, text}`, what was added after the first `at` code points; `end` once it has ended.
 */
export class Answer extends EventTarget {
  /** The `message` as it came first, after the end the final one. */
  message;
  text;
  state;
  /** Why it has ended, if something was said. */
  reason = null;

  constructor({ session_id: sessionId, offset, message }) {
    super();
    this.id = message.id;
    this.sessionId = sessionId;
    this.offset = offset;
    this.message = message;
    this.text = message.content;
    this.state = message.state;
  }

  get isGrowing() {
    return this.state === GROWING;
  }
}

export class Answers {
  #client; // {emit, history}
  #entries = new Map(); // message id -> {answer, length: in code points, isReading}

  constructor(client) {
    this.#client = client;
  }

  get all() {
    return [...this.#entries.values()].map(({ answer }) => answer);
  }

  get(id) {
    return this.#entries.get(id)?.answer;
  }

  /** A push as it is now, new or from history: with the whole text. */
  seen(push) {
    const { message } = push;
    if (push.type !== "new_message") return;
    const entry = this.#entries.get(message.id);
    if (entry === undefined) {
      if (message.state !== GROWING) return;
      const answer = new Answer(push);
      this.#entries.set(answer.id, { answer, length: count(message.content), isReading: false });
      this.#client.emit("ws:answer", { answer });
    } else if (message.state !== GROWING) this.#end(entry, message, message.state, null);
    else this.#replace(entry, 0, message.content);
  }

  /** `answer_appended`: it follows the first `at` code points of the text. */
  appended({ session_id: sessionId, message_id: id, at, text }) {
    const entry = this.#entries.get(id);
    if (entry === undefined) return; // it ended, or its session is being joined
    if (at > entry.length) this.#read(sessionId, entry);
    else if (!entry.isReading) this.#replace(entry, at, text);
  }

  /** `answer_ended` or `message_deleted`. */
  ended({ message_id: id, message, state = "cancelled", reason = null }) {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#end(entry, message, state, reason);
  }

  /** Something was missed in a session: read again what grows in it. */
  missed(sessionId) {
    for (const entry of this.#entries.values()) {
      if (entry.answer.sessionId === sessionId) this.#read(sessionId, entry);
    }
  }

  /** A session was left; without one: another user is here. */
  forget(sessionId) {
    for (const [id, { answer }] of this.#entries) {
      if (sessionId === undefined || answer.sessionId === sessionId) this.#entries.delete(id);
    }
  }

  /** Read the text: what comes before the reply is in it. */
  async #read(sessionId, entry) {
    if (entry.isReading) return;
    entry.isReading = true;
    try {
      await this.#client.history(sessionId, { after: entry.answer.offset - 1, limit: 1 });
    } catch {
      // The next text tries again, as does the next connection.
    } finally {
      entry.isReading = false;
    }
  }

  #replace(entry, at, text) {
    const { answer } = entry;
    const before = answer.text;
    answer.text = (at === entry.length ? before : first(before, at)) + text;
    if (answer.text === before) return;
    entry.length = at + count(text);
    entry.isReading = false;
    answer.dispatchEvent(new CustomEvent("text", { detail: { at, text } }));
  }

  #end(entry, message, state, reason) {
    const { answer } = entry;
    this.#entries.delete(answer.id);
    Object.assign(answer, { message, state, reason, text: message.content ?? "" });
    answer.dispatchEvent(new CustomEvent("end"));
  }
}

/** The number of code points. */
function count(text) {
  let length = text.length;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code >= 0xd800 && code < 0xdc00) length -= 1; // the first half of a pair
  }
  return length;
}

/** The first code points of a text. */
function first(text, length) {
  let index = 0;
  for (let seen = 0; seen < length; seen++) index += text.codePointAt(index) > 0xffff ? 2 : 1;
  return text.slice(0, index);
}
