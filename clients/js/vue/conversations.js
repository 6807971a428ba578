/** The conversations of a user: the list that several components share, and what is unread. */

import { computed, onScopeDispose, ref, shallowReactive, shallowRef, toValue } from "vue";

import { useWsClient } from "./client.js";

const PAGE = 50;
const REFRESH_MS = 800; // after something has changed that no push tells
const GROWING_MS = 3000; // between two looks at an answer that grows in a session not joined

/** The list of one client, in one state or in all; kept up to date while a component uses it. */
class Store {
  conversations = shallowRef([]);
  total = ref(0);
  hasMore = ref(false);
  isLoading = ref(false);
  error = shallowRef(null);
  #client;
  #state;
  #byId = new Map();
  #cursor = null;
  #users = 0;
  #timer = 0;
  #userId = null; // whose they are
  #listeners; // [name, listener]

  constructor(client, state) {
    this.#client = client;
    this.#state = state;
    const on = (name, react) => [name, ({ detail }) => react(detail)];
    this.#listeners = [
      on("ws:open", () => this.refresh()),
      on("session_updated", ({ session }) => this.#changed(session)),
      on("unread_changed", (push) => this.#counted(push)),
      on("new_message", (push) => this.#said(push)),
      on("message_updated", ({ message }) => this.#edited(message)),
      on("message_deleted", ({ message }) => this.#edited(message)),
      on("answer_ended", ({ message }) => this.#edited(message)),
      on("read_position", (push) => this.#read(push)),
    ];
  }

  /** A component uses it; returns what ends this. */
  use() {
    this.#users += 1;
    if (this.#users === 1) {
      for (const [name, listener] of this.#listeners) this.#client.addEventListener(name, listener);
      if (this.#client.state === "open") this.refresh();
    }
    return () => {
      this.#users -= 1;
      if (this.#users > 0) return;
      clearTimeout(this.#timer);
      this.#timer = 0;
      for (const [name, listener] of this.#listeners) {
        this.#client.removeEventListener(name, listener);
      }
    };
  }

  get(sessionId) {
    return this.#byId.get(sessionId);
  }

  /** The first page again; what was loaded beyond it stays. */
  async refresh() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const { user_id: userId } = this.#client.connection ?? {};
    if (userId !== this.#userId) {
      this.#byId.clear();
      this.#cursor = null;
      this.#userId = userId;
      this.total.value = 0;
      this.hasMore.value = false;
      this.#sort(); // nothing of another user may stay
    }
    const isFirst = this.#byId.size === 0;
    const page = await this.#load(null);
    if (page === null) return;
    this.#clean(page);
    const { sessions } = this.#client;
    const isGrowing = ({ session_id: id, last_message: last }) =>
      last?.state === "growing" && !sessions.includes(id);
    if (page.conversations.some(isGrowing)) this.#refreshSoon(GROWING_MS);
    if (!isFirst) return;
    this.#cursor = page.next_cursor;
    this.hasMore.value = this.#cursor !== null;
  }

  /** What should be on the first page, and is not, is no longer the user's. */
  #clean({ conversations, next_cursor: next }) {
    const ids = new Set(conversations.map((each) => each.session_id));
    const oldest = next === null ? "" : activityOf(conversations.at(-1) ?? {});
    for (const [id, each] of this.#byId) {
      if (!ids.has(id) && (next === null || activityOf(each) > oldest)) this.#byId.delete(id);
    }
    this.#sort();
  }

  async more() {
    if (this.#cursor === null || this.isLoading.value) return;
    const page = await this.#load(this.#cursor);
    if (page === null) return;
    this.#cursor = page.next_cursor;
    this.hasMore.value = this.#cursor !== null;
  }

  async #load(cursor) {
    this.isLoading.value = true;
    try {
      const page = await this.#client.conversations({ limit: PAGE, cursor, state: this.#state });
      this.error.value = null;
      this.total.value = page.unread_total;
      for (const each of page.conversations) this.#put(each);
      this.#sort();
      return page;
    } catch (failure) {
      if (failure.code !== "disconnected") this.error.value = failure; // `ws:open` loads
      return null;
    } finally {
      this.isLoading.value = false;
    }
  }

  #refreshSoon(afterMs = REFRESH_MS) {
    if (this.#timer === 0 && this.#users > 0) this.#timer = setTimeout(() => this.refresh(), afterMs);
  }

  #put(fields) {
    const known = this.#byId.get(fields.session_id);
    if (known) Object.assign(known, fields);
    else this.#byId.set(fields.session_id, shallowReactive({ ...fields }));
  }

  #sort() {
    const isAsked = ({ state }) => this.#state === null || state === this.#state;
    const all = [...this.#byId.values()].filter(isAsked);
    this.conversations.value = all.sort((a, b) => (activityOf(a) < activityOf(b) ? 1 : -1));
  }

  #changed(session) {
    const known = this.#byId.get(session.session_id);
    // Pushes about one session may come over different nodes: a higher term is newer.
    if (known && session.term < known.term) return;
    if (known) Object.assign(known, session);
    else this.#refreshSoon();
    this.#sort();
  }

  #counted({ session_id: id, unread, total }) {
    this.total.value = total;
    const known = this.#byId.get(id);
    if (known) known.unread = unread;
    // Its message comes only to those who have joined it.
    if (!known || !this.#client.sessions.includes(id)) this.#refreshSoon();
  }

  #said({ session_id: id, message, offset }) {
    const known = this.#byId.get(id);
    if (known === undefined) {
      this.#refreshSoon();
      return;
    }
    if (offset < known.offset) return; // replayed
    Object.assign(known, { last_message: message, offset });
    this.#sort();
  }

  #edited(message) {
    const known = this.#byId.get(message.session_id);
    if (known?.last_message?.id === message.id) known.last_message = message;
  }

  #read({ session_id: id, user_id: userId, offset }) {
    const known = this.#byId.get(id);
    if (known && userId === this.#client.connection?.user_id) known.read_offset = offset;
  }
}

/** When something was last said in it. */
function activityOf({ last_message: last, created_at: createdAt }) {
  return last?.created_at ?? createdAt ?? "";
}

const stores = new WeakMap(); // client -> Map of state -> Store

/** The list of a client, for as long as the component lives. */
export function conversationsOf(client, state = null) {
  if (!stores.has(client)) stores.set(client, new Map());
  const ofClient = stores.get(client);
  if (!ofClient.has(state)) ofClient.set(state, new Store(client, state));
  const store = ofClient.get(state);
  onScopeDispose(store.use());
  return store;
}

/** The user's conversations, newest activity first. */
export function useConversations({ state = null, client = useWsClient() } = {}) {
  const store = conversationsOf(client, state);
  const { conversations, total, hasMore, isLoading, error } = store;
  const loadMore = () => store.more();
  return { conversations, unread: total, hasMore, isLoading, error, loadMore };
}

/** How much is unread, in all conversations or in one. */
export function useUnread(sessionId = null, client = useWsClient()) {
  const store = conversationsOf(client);
  return computed(() => {
    const id = toValue(sessionId);
    if (id === null) return store.total.value;
    void store.conversations.value;
    return store.get(id)?.unread ?? 0;
  });
}
