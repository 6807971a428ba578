/**
 * Where the client stands in each stream of kept messages, and which of them are new to it.
 *
 * Decides only: it knows neither sockets nor time. A stream whose position is being compared with
 * the server's is held: what arrives live waits, so that what was missed can go before it.
 */

const INBOX = "user:";
const HELD_LIMIT = 2000; // messages that may wait for the answer about one stream
const SEEN_LIMIT = 4000; // remembered offsets of the inbox, which holds 1000 messages
const STORED_LIMIT = 1000; // of them outlive the page

export class Streams {
  // name -> {epoch, offset, isNew, held, seen}. isNew: nothing was ever said about where it
  // stands. held: null, or the pushes that wait. seen: null, or offsets (inbox only).
  #streams = new Map();
  /** Names of the streams whose position has moved since this was last cleared. */
  changed = new Set();

  /** The position to come back with, or null. */
  position(name) {
    const stream = this.#streams.get(name);
    return stream && !stream.isNew ? { epoch: stream.epoch, offset: stream.offset } : null;
  }

  /** All positions by stream. */
  get positions() {
    const known = [...this.#streams.keys()].map((name) => [name, this.position(name)]);
    return Object.fromEntries(known.filter(([, position]) => position));
  }

  isHeld(name) {
    return Boolean(this.#streams.get(name)?.held);
  }

  /** Take the position of a stream, unless one is known. */
  adopt(name, { epoch, offset }) {
    if (this.#streams.has(name)) return;
    Object.assign(this.#add(name), { epoch, offset, isNew: false });
    this.changed.add(name);
  }

  /** From now until `settle` or `release` let what arrives in this stream wait. */
  hold(name) {
    (this.#streams.get(name) ?? this.#add(name)).held ??= [];
  }

  /**
   * A kept push has arrived: "new" (hand it on), "known" (it was handed on before), "held", or
   * "full": too much waits, and `release` has to be called.
   */
  take(push) {
    const stream = this.#streams.get(push.stream) ?? this.#add(push.stream);
    if (stream.held) {
      if (stream.isNew && stream.held.length === 0) {
        // Should the connection break before the answer, this is where to go on.
        Object.assign(stream, { epoch: push.epoch, offset: push.offset - 1 });
      }
      stream.held.push(push);
      return stream.held.length < HELD_LIMIT ? "held" : "full";
    }
    stream.isNew = false;
    if (stream.epoch !== push.epoch) {
      Object.assign(stream, { epoch: push.epoch, offset: 0 });
      stream.seen?.clear();
    }
    if (stream.seen ? stream.seen.has(push.offset) : push.offset <= stream.offset) return "known";
    stream.offset = Math.max(stream.offset, push.offset);
    remember(stream.seen, push.offset);
    this.changed.add(push.stream);
    return "new";
  }

  /**
   * The server has answered about a stream, as in `resumed` or `session_joined`. Returns
   * `{pushes, known, gap}`: what is to be handed on, in order; what was handed on before; and
   * whether something in front of it all is missing.
   */
  settle(name, { recovered, epoch, offset, messages = [] }) {
    const stream = this.#streams.get(name) ?? this.#add(name);
    const held = stream.held ?? [];
    const gap = !recovered && !stream.isNew && stream.held !== null;
    if (stream.isNew && held.length === 0) Object.assign(stream, { epoch, offset });
    if (gap) skipTo(stream, epoch, offset);
    stream.isNew = false;
    stream.held = null;
    this.changed.add(name);
    return { ...this.#inOrder([...messages, ...held]), gap };
  }

  /** No answer is to be had, or too much has waited for it: go on without what was missed. */
  release(name) {
    const stream = this.#streams.get(name);
    const held = stream?.held ?? [];
    if (stream) stream.held = null;
    if (stream?.isNew && held.length === 0) this.#streams.delete(name);
    return this.#inOrder(held);
  }

  /** The connection is gone. What waited comes again: its position was not taken. */
  disconnected() {
    for (const [name, stream] of this.#streams) {
      if (stream.held === null) continue;
      if (stream.isNew && stream.held.length === 0) this.#streams.delete(name);
      if (stream.held.length > 0) stream.isNew = false;
      stream.held = null;
    }
  }

  forget(name) {
    if (this.#streams.delete(name)) this.changed.add(name);
  }

  clear() {
    this.#streams.clear();
    this.changed.clear();
  }

  /** What to keep of a stream across page loads, which `load` takes; or null. */
  saved(name) {
    const position = this.position(name);
    const seen = this.#streams.get(name)?.seen;
    return position && seen ? { ...position, seen: [...seen].slice(-STORED_LIMIT) } : position;
  }

  load(saved) {
    for (const [name, { seen, ...position }] of saved) {
      this.adopt(name, position);
      for (const offset of seen ?? []) this.#streams.get(name).seen?.add(offset);
    }
  }

  #inOrder(all) {
    const pushes = [];
    const known = [];
    for (const push of all.sort((a, b) => a.offset - b.offset)) {
      (this.take(push) === "new" ? pushes : known).push(push);
    }
    return { pushes, known };
  }

  #add(name) {
    // What waits in an inbox is sent from its oldest message on, whatever the position: there it
    // is the single offsets that tell what is known, elsewhere the greatest one.
    const seen = name.startsWith(INBOX) ? new Set() : null;
    const stream = { epoch: null, offset: 0, isNew: true, held: null, seen };
    this.#streams.set(name, stream);
    return stream;
  }
}

/** Go on from where the server is, but not past what it has sent already. */
function skipTo(stream, epoch, offset) {
  const known = stream.epoch === epoch ? stream.offset : 0;
  if (stream.epoch !== epoch) stream.seen?.clear();
  const first = stream.seen === null ? (stream.held[0]?.offset ?? Infinity) : Infinity;
  Object.assign(stream, { epoch, offset: Math.max(known, Math.min(offset, first - 1)) });
}

function remember(seen, offset) {
  seen?.add(offset);
  if (seen?.size > SEEN_LIMIT) seen.delete(seen.values().next().value);
}
