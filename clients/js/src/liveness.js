/** Notices a connection that is dead although its socket looks open. */

import { DISCONNECTED, TIMEOUT } from "./errors.js";

const ANSWER_MS = 4000;
/** After sleep, when the connection is probably gone and somebody looks at the page. */
const ANSWER_AFTER_SLEEP_MS = 1500;
const TICK_MS = 1000;
const UNANSWERED = new Set([DISCONNECTED, TIMEOUT]);
/** What comes sooner than this after the question may have been under way before it. */
const FRESH_MS = 500;
const SLEPT_MS = 5000;

export class Liveness {
  #ask; // () => promise that settles with the server's answer to a ping
  #isOpen; // () => boolean: does the socket look open?
  #dead; // (reason) => void
  #canAsk = false;
  #limitMs = Infinity;
  #heardAt = 0;
  #tickedAt = 0;
  #tickedOn = 0; // by the wall clock, which goes on while the machine sleeps
  #ticker = 0;
  #timer = 0;

  constructor(ask, isOpen, dead) {
    this.#ask = ask;
    this.#isOpen = isOpen;
    this.#dead = dead;
  }

  /** From now on something has to be heard every `limitMs`; `canAsk`: the server answers pings. */
  start(limitMs, canAsk) {
    this.stop();
    this.#limitMs = limitMs;
    this.#canAsk = canAsk;
    this.heard();
    this.#noteTick();
    this.#ticker = setInterval(() => this.#tick(), Math.min(limitMs / 4, TICK_MS));
  }

  stop() {
    clearInterval(this.#ticker);
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#canAsk = false;
  }

  /** Something has come from the server. */
  heard() {
    this.#heardAt = performance.now();
  }

  /** The network may have changed, or time stood still: ask the server instead of waiting. */
  check(answerMs = this.#hasSlept() ? ANSWER_AFTER_SLEEP_MS : ANSWER_MS) {
    if (!this.#canAsk || this.#timer !== 0) return;
    if (!this.#isOpen()) {
      this.#dead("the socket was closed while the page slept");
      return;
    }
    const askedAt = performance.now();
    const timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#heardAt - askedAt < FRESH_MS) this.#dead("no answer to a ping");
    }, answerMs);
    const answered = () => {
      clearTimeout(timer);
      if (this.#timer === timer) this.#timer = 0;
    };
    this.#timer = timer;
    this.#ask().then(answered, (error) => {
      if (!UNANSWERED.has(error.code)) answered(); // a refusal is an answer, too
    });
  }

  #tick() {
    const hasSlept = this.#hasSlept();
    this.#noteTick();
    // What was sent meanwhile may be waiting unread.
    if (hasSlept && this.#canAsk) this.check(ANSWER_AFTER_SLEEP_MS);
    else if (performance.now() - this.#heardAt >= this.#limitMs) {
      this.#dead("nothing heard from the server");
    }
  }

  #hasSlept() {
    const pausedMs = Math.max(performance.now() - this.#tickedAt, Date.now() - this.#tickedOn);
    return pausedMs > this.#limitMs / 2 + SLEPT_MS;
  }

  #noteTick() {
    this.#tickedAt = performance.now();
    this.#tickedOn = Date.now();
  }
}
