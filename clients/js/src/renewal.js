/** Renews the token of a connection that goes on, when the server says that it is about to expire. */

const AGAIN_MS = 10_000;
const TRIES = 5; // within the 60 s for which the server warns

export class Renewal {
  #ask; // () => promise of a token, or of null
  #hand; // (token) => promise of the reply
  #report; // (error) => void
  #connection = 0; // counts; what belongs to an earlier one is stale
  #isRunning = false;
  #isDue = false;
  #timer = 0;

  constructor(ask, hand, report) {
    this.#ask = ask;
    this.#hand = hand;
    this.#report = report;
  }

  /** `token_expiring` has come. */
  due() {
    // A token that is as short-lived as the last one brings the next warning before its own
    // reply: not asking at once keeps the two from going round and round.
    if (this.#isRunning || this.#timer !== 0) this.#isDue = true;
    else this.#run(TRIES);
  }

  /** The connection is gone. */
  stop() {
    this.#connection += 1;
    this.#isRunning = false;
    this.#isDue = false;
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  async #run(tries) {
    const connection = this.#connection;
    const isCurrent = () => connection === this.#connection;
    this.#isRunning = true;
    this.#isDue = false;
    let failed = false;
    try {
      const token = await this.#ask();
      if (token !== null && isCurrent()) await this.#hand(token);
    } catch (error) {
      failed = true;
      if (isCurrent()) this.#report(error);
    }
    if (!isCurrent()) return;
    this.#isRunning = false;
    if ((failed && tries > 1) || this.#isDue) {
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        this.#run(failed ? tries - 1 : TRIES);
      }, AGAIN_MS);
    }
  }
}
