/** Kept messages: catches up with what was missed, and acknowledges what was handed on. */

import { DISCONNECTED, WsError, pauseAfter } from "./errors.js";
import { ReadMarks } from "./positions.js";
import { Receipts } from "./receipts.js";
import { Saved } from "./saved.js";
import { Streams } from "./streams.js";

const BROADCAST = "broadcast";
const INBOX = "user:";
const ORGANIZATION = "organization:";
const SESSION = "session:";
const STREAMS_AT_ONCE = 100; // in one `resume`
const CROWDED = 100; // users in a session of which the server tells no statuses one by one
/** A position that no stream has: the answer says where it really stands. */
const NOWHERE = { epoch: "", offset: 0 };
const CHANGES = new Set(["message_updated", "message_deleted", "answer_ended"]);
const FORBIDDEN = "forbidden";

export class Kept {
  #options;
  #client; // {command, dispatch, emit, lost, answers}
  #streams = new Streams();
  #saved; // null: positions end with the page
  #userId = null; // whose positions these are
  #crowded = new Set(); // sessions with many users
  #missed = new Set(); // streams to resume on this connection
  #connections = 0;

  constructor(options, client) {
    this.#options = options;
    this.#client = client;
    const { receiptDelayMs, storage, url } = options;
    this.#saved = storage ? new Saved(storage, url) : null;
    const told = (type) => (ids) => client.command(type, { ids });
    const refused = (error) => client.emit("ws:error", { error });
    this.received = new Receipts(told("ack"), refused, receiptDelayMs);
    this.read = new Receipts(told("read"), refused, receiptDelayMs);
    const mark = (session_id, offset) => client.command("mark_read", { session_id, offset });
    this.marks = new ReadMarks(mark, refused, receiptDelayMs);
  }

  get positions() {
    return this.#streams.positions;
  }

  isCatchingUp(sessionId) {
    return this.#streams.isHeld(SESSION + sessionId);
  }

  /** A connection is there: until `resume` has its answer, let what arrives wait. */
  hold(established, sessions) {
    const { user_id: userId, session_id: bound, inbox } = established;
    const { organization_id: organizationId, organization } = established;
    this.#connections += 1;
    if (this.#userId !== userId) {
      this.#streams.clear();
      this.#client.answers.forget();
      // What one user has received or read must not be told for another.
      if (this.#userId !== null) [this.received, this.read, this.marks].forEach((each) => each.clear());
      this.#userId = userId;
      this.#load();
    }
    const names = [...sessions].map((id) => SESSION + id);
    if (bound && this.#streams.position(SESSION + bound)) names.push(SESSION + bound);
    if (this.#streams.position(INBOX + userId)) names.push(INBOX + userId);
    else if (inbox) this.#streams.adopt(INBOX + userId, inbox); // what waits in it is sent now
    if (organization) {
      const own = ORGANIZATION + organizationId;
      if (this.#streams.position(own)) names.push(own);
      else this.#streams.adopt(own, organization); // nothing was missed: this is where it begins
    }
    names.push(BROADCAST);
    for (const name of names) this.#streams.hold(name);
    this.#missed = new Set(names);
  }

  /** Ask for what was missed; this joins the sessions again. Resolves when it was handed on. */
  async resume() {
    const connection = this.#connections;
    const isCurrent = () => connection === this.#connections;
    const missed = this.#missed;
    const names = [...missed];
    this.tellReceipts();
    for (let start = 0; start < names.length && isCurrent(); start += STREAMS_AT_ONCE) {
      await this.#catchUp(names.slice(start, start + STREAMS_AT_ONCE), missed, isCurrent);
    }
  }

  /** Ask about these streams, except those of `missed` that have been left meanwhile. */
  async #catchUp(names, missed, isCurrent) {
    for (let attempt = 0; ; attempt++) {
      const wanted = names.filter((name) => missed.has(name));
      if (wanted.length === 0) return;
      const position = (name) => [name, this.#streams.position(name) ?? NOWHERE];
      const streams = Object.fromEntries(wanted.map(position));
      let answers;
      try {
        answers = (await this.#client.command("resume", { streams })).streams ?? {};
      } catch (error) {
        if (error.code === DISCONNECTED || !isCurrent()) return; // the next connection asks again
        if (error.temporary) {
          await pauseAfter(error, attempt);
          if (isCurrent()) continue;
          return;
        }
        if (wanted.length === 1) {
          this.#refused(wanted[0], error);
          return;
        }
        // One of them has spoiled it for the others: look for it.
        const middle = Math.ceil(wanted.length / 2);
        await this.#catchUp(wanted.slice(0, middle), missed, isCurrent);
        if (isCurrent()) await this.#catchUp(wanted.slice(middle), missed, isCurrent);
        return;
      }
      for (const name of wanted) {
        if (missed.has(name)) this.#resumed(name, answers[name]);
      }
      return;
    }
  }

  /** The server will not resume this stream; a session is lost then. */
  #refused(name, error) {
    const sessionId = sessionOf(name);
    const { pushes, known } = this.#streams.release(name);
    if (sessionId === null) {
      this.#handOn(name, { pushes, known });
      if (error.code !== FORBIDDEN) this.#client.emit("ws:error", { error });
      return;
    }
    this.forget(sessionId);
    this.#client.lost(sessionId);
    this.#client.emit("ws:lost", { session_id: sessionId, error });
  }

  #resumed(name, answer) {
    const sessionId = sessionOf(name);
    if (answer === undefined || answer.reason === FORBIDDEN) {
      const message = sessionId === null ? `no access to ${name}` : `no access to session ${sessionId}`;
      this.#refused(name, new WsError({ code: FORBIDDEN, message }));
      return;
    }
    const missed = this.#settle(name, answer);
    if (sessionId !== null) {
      const { recovered, epoch, offset } = answer;
      this.#client.emit("ws:rejoined", { session_id: sessionId, recovered, epoch, offset, missed });
    }
  }

  /** Join a session from where it was left, if it is known. */
  async join(sessionId) {
    const name = SESSION + sessionId;
    const since = this.#streams.position(name);
    const isHeld = this.#streams.isHeld(name); // by `resume`, whose answer then counts
    this.#streams.hold(name);
    try {
      const reply = await this.#join(sessionId, since);
      this.#joined(reply);
      return reply;
    } catch (error) {
      if (!isHeld) this.#handOn(name, this.#streams.release(name));
      throw error;
    }
  }

  async #join(session_id, since) {
    if (since === null) return this.#client.command("join_session", { session_id });
    try {
      // With the changes, as a `resume` gives them.
      return await this.#client.command("join_session", { session_id, since, changes: true });
    } catch (error) {
      if (error.code !== "unknown_field") throw error;
      return this.#client.command("join_session", { session_id, since }); // an older server
    }
  }

  /** A bound connection gets the state of its session without a command. */
  bound(push) {
    if (!this.isCatchingUp(push.session_id)) this.#joined(push);
  }

  #joined(push) {
    if (push.users?.length > CROWDED) this.#crowded.add(push.session_id);
    else this.#crowded.delete(push.session_id);
    this.#settle(SESSION + push.session_id, push);
  }

  /** The server has answered about a stream; returns how many pushes were missed. */
  #settle(name, answer) {
    const missed = this.#handOn(name, this.#streams.settle(name, answer), answer.reason);
    for (const push of answer.messages ?? []) this.#client.answers.seen(push); // known ones, too
    return missed;
  }

  /** A session is being left: `resume` must not join it again. */
  leaving(sessionId) {
    this.#missed.delete(SESSION + sessionId);
  }

  /** A session was left: coming back to it is a new start. */
  forget(sessionId) {
    this.#crowded.delete(sessionId);
    this.#client.answers.forget(sessionId);
    this.#streams.forget(SESSION + sessionId);
    this.#save();
  }

  /** A push of a stream: handed on now, or after what comes in front of it, but once. */
  take(push) {
    const verdict = this.#streams.take(push);
    if (verdict === "new") this.#dispatch(push);
    if (verdict === "known") this.#acknowledge(push);
    if (verdict === "full") {
      const gap = this.#streams.position(push.stream) !== null;
      this.#handOn(push.stream, { ...this.#streams.release(push.stream), gap });
    }
    this.#save();
  }

  /** Hand on what a stream has had waiting; returns how many pushes that were. */
  #handOn(name, { pushes, known, gap = false }, reason = "too_far_behind") {
    if (gap) {
      this.marks.forget(sessionOf(name)); // its numbers may have begun anew
      this.#client.emit("ws:gap", { stream: name, session_id: sessionOf(name), reason });
      this.#client.answers.missed(sessionOf(name));
    }
    for (const push of pushes) this.#dispatch(push);
    for (const push of known) this.#acknowledge(push);
    this.#save();
    return pushes.length;
  }

  #dispatch(push) {
    this.#client.dispatch(push);
    this.#acknowledge(push);
  }

  /** Its handlers have run. What comes twice is acknowledged twice: the first one may be lost. */
  #acknowledge({ type, id, stream, message }) {
    if (CHANGES.has(type)) return; // about another message, which has receipts of its own
    const { acknowledge } = this.#options;
    const sessionId = sessionOf(stream);
    const isOthers = sessionId !== null && message?.sender?.user_id !== this.#userId;
    const isWanted = stream.startsWith(INBOX)
      ? acknowledge !== "none"
      : acknowledge === "all" && isOthers && !this.#crowded.has(sessionId);
    if (isWanted) this.received.add([id]);
  }

  tellReceipts() {
    this.received.flush();
    this.read.flush();
    this.marks.flush();
  }

  /** The connection is gone. */
  disconnected() {
    this.#connections += 1;
    this.#streams.disconnected();
  }

  // Positions that outlive the page

  #load() {
    try {
      this.#streams.load(this.#saved?.load(this.#userId) ?? []);
    } catch (error) {
      this.#client.emit("ws:error", { error });
    }
  }

  #save() {
    const { changed } = this.#streams;
    if (this.#saved) {
      try {
        for (const name of changed) this.#saved.set(name, this.#streams.saved(name));
      } catch (error) {
        this.#client.emit("ws:error", { error }); // full or forbidden: they end with the page
      }
    }
    changed.clear();
  }
}

function sessionOf(name) {
  return name.startsWith(SESSION) ? name.slice(SESSION.length) : null;
}
