/** Answers that grow in the server in memory. */

import { refusal } from "./messages.js";

/** An answer as its producer sees it. */
class Producer {
  #answers;
  #push;

  constructor(answers, push) {
    this.#answers = answers;
    this.#push = push;
  }

  /** The id of its message. */
  get id() {
    return this.#push.id;
  }

  get state() {
    return this.#push.message.state;
  }

  /** Add text, pushed at once; returns false once it has ended. */
  append(text) {
    return this.#answers.append(this.#push, text);
  }

  /**
   * End it; `content` replaces the text. Returns the push, or null once it has ended.
   *
   * @param {{state?: "completed" | "failed" | "interrupted", content?: string, reason?: string}} [end]
   */
  finish({ state = "completed", content, reason } = {}) {
    return this.#answers.end(this.#push, state, reason, content);
  }
}

export class FakeAnswers {
  #state;
  #messages;

  constructor(state, messages) {
    this.#state = state;
    this.#messages = messages;
  }

  start(sessionId, sender, content, fields) {
    const grown = { ...fields, state: "growing", seq: 0 };
    return new Producer(this, this.#messages.add(sessionId, sender, content, grown));
  }

  append({ session_id, id, message }, text) {
    if (message.state !== "growing") return false;
    const at = [...message.content].length;
    message.content += text;
    message.seq += 1;
    const push = { type: "answer_appended", session_id, message_id: id, seq: message.seq, at, text };
    this.#state.send(push, this.#state.in(session_id));
    return true;
  }

  end({ session_id, id, message }, state, reason, content = message.content) {
    if (message.state !== "growing") return null;
    Object.assign(message, { content, state });
    const length = [...content].length;
    const push = { type: "answer_ended", id: this.#state.id("msg"), session_id, message_id: id };
    return this.#messages.record({ ...push, state, reason, length, message: { ...message } });
  }

  /** The command `cancel_answer`. */
  cancel({ message_id: id, reason }) {
    const push = this.#messages.find(id);
    if (push?.message.state === undefined) return refusal("not_found", `no answer ${id}`);
    const { state } = push.message;
    if (this.end(push, "cancelled", reason) === null && state !== "cancelled") {
      return refusal("answer_ended", `the answer is ${state}`, { state });
    }
    return { type: "ack" };
  }
}
