/** What the server in memory knows: connections, streams, inboxes. */

export const SESSION = "session:";
export const INBOX = "user:";
const EPOCH = "epoch_1";

export class State {
  connections = new Set(); // {userId, socket, sessions, send}
  #streams = new Map(); // name -> pushes, with their epoch
  #inboxes = new Map(); // user -> Map of id -> push: not acknowledged
  #ids = 0;
  #now;

  constructor(now) {
    this.#now = now;
  }

  id(prefix) {
    this.#ids += 1;
    return `${prefix}_${String(this.#ids).padStart(8, "0")}`;
  }

  get now() {
    return this.#now();
  }

  time() {
    return this.#now().toISOString();
  }

  // Connections

  /** Those that have joined a session. */
  in(sessionId) {
    return [...this.connections].filter(({ sessions }) => sessions.has(sessionId));
  }

  of(userId) {
    return [...this.connections].filter((each) => each.userId === userId);
  }

  enter(connection, sessionId) {
    if (connection.sessions.has(sessionId)) return;
    this.#tell(connection, sessionId, "session_joined");
    connection.sessions.add(sessionId);
  }

  exit(connection, sessionId) {
    if (connection.sessions.delete(sessionId)) this.#tell(connection, sessionId, "session_left");
  }

  drop(connection) {
    if (!this.connections.delete(connection)) return;
    for (const sessionId of connection.sessions) this.#tell(connection, sessionId, "session_left");
  }

  /** Tell the others in a session that a user came or went. */
  #tell({ userId }, sessionId, type) {
    if (this.in(sessionId).some((each) => each.userId === userId)) return;
    this.send({ type, session_id: sessionId, user_id: userId }, this.in(sessionId));
  }

  /** A live push. */
  send(push, connections) {
    const whole = { ...push, timestamp: this.time() };
    for (const connection of connections) connection.send(whole);
    return whole;
  }

  // Streams

  stream(name) {
    return entryOf(this.#streams, name, () => Object.assign([], { epoch: EPOCH }));
  }

  get streams() {
    return this.#streams.values();
  }

  /** Begin a stream anew. */
  restart(name) {
    this.#streams.set(name, Object.assign([], { epoch: this.id("epoch") }));
  }

  position(name) {
    const stream = this.stream(name);
    return { epoch: stream.epoch, offset: stream.length };
  }

  recover(name, { epoch, offset }) {
    const stream = this.stream(name);
    const position = this.position(name);
    const isAhead = offset > stream.length ? "offset_ahead" : undefined;
    const reason = epoch !== stream.epoch ? "epoch_changed" : isAhead;
    if (reason) return { recovered: false, ...position, messages: [], reason };
    return { recovered: true, ...position, messages: stream.slice(offset) };
  }

  /** Store a push at the end of a stream. */
  keep(name, push) {
    const stream = this.stream(name);
    const { epoch, length } = stream;
    const kept = { ...push, timestamp: this.time(), stream: name, epoch, offset: length + 1 };
    stream.push(kept);
    return kept;
  }

  // Inboxes

  inbox(userId) {
    return entryOf(this.#inboxes, userId, () => new Map());
  }

  keepForUser(userId, push) {
    const kept = this.keep(INBOX + userId, push);
    this.inbox(userId).set(kept.id, kept);
    for (const connection of this.of(userId)) connection.send(kept);
    return kept;
  }
}

function entryOf(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}
