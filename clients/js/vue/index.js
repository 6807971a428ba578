/**
 * Composables for Vue 3. They run on a server, too, where they do nothing: a client is connected when
 * its component is mounted.
 */

import {
  computed,
  inject,
  onMounted,
  onScopeDispose,
  provide,
  ref,
  shallowReactive,
  shallowRef,
  toValue,
  watch,
} from "vue";

import { WsClient } from "../src/index.js";

const CLIENT = Symbol.for("@wsserver/client");
const PAGE = 50;
const TYPING_SHOWN_MS = 8000; // should the end of it get lost
const TYPING_TOLD_MS = 3000; // at most so often
const TYPING_IDLE_MS = 4000;
const PRESENCE_MS = 200;
const JOIN_AGAIN_MS = 2000;
const POPUP_MS = 6000;
const NOTIFICATIONS = 100;
const LINK = /^(\/(?![/\\])|https?:\/\/)/i;

/** For `app.use(wsClient, client)`: every component has it. */
export const wsClient = {
  install(app, client) {
    app.provide(CLIENT, client);
  },
};

/**
 * The client of this component and those below it: made of options, or given. It is connected when
 * the component is mounted, and closed with it if it was made here. Without an argument: the client
 * of a component above.
 */
export function useWsClient(given) {
  if (given === undefined) {
    const client = inject(CLIENT, null);
    if (client !== null) return client;
    throw new Error("no client: call useWsClient({…}) in a component above, or app.use(wsClient, …)");
  }
  const isOurs = !(given instanceof WsClient);
  const client = isOurs ? new WsClient(given) : given;
  provide(CLIENT, client);
  onMounted(() => client.connect().catch(() => {})); // `useConnection` says why
  if (isOurs) onScopeDispose(() => client.close());
  return client;
}

/** The state of the connection, for a line at the top of the page. */
export function useConnection(client = useWsClient()) {
  const state = ref(client.state);
  const userId = ref(client.connection?.user_id ?? null);
  const lastClose = shallowRef(null);
  on(client, "ws:state", (detail) => (state.value = detail.state));
  on(client, "ws:open", (push) => {
    userId.value = push.user_id;
    lastClose.value = null;
  });
  on(client, "ws:close", (detail) => (lastClose.value = detail));
  const isOpen = computed(() => state.value === "open");
  return { state, isOpen, userId, lastClose };
}

/** How many components use which session of a client; the last one leaves it. */
const uses = new WeakMap(); // client -> Map of session id -> count

function countOf(client) {
  if (!uses.has(client)) uses.set(client, new Map());
  return uses.get(client);
}

/**
 * A session: its messages, those that are being sent, who is there and who types. It is joined as
 * long as a component uses it.
 */
export function useSession(sessionId, { pageSize = PAGE, client = useWsClient() } = {}) {
  const messages = shallowRef([]);
  const typing = shallowRef([]);
  const present = shallowRef([]);
  const isJoined = ref(false);
  const isLoading = ref(false);
  const hasOlder = ref(false);
  const error = shallowRef(null);
  const unread = computed(() => messages.value.reduce((n, each) => n + (each.isUnread ? 1 : 0), 0));

  let id = null;
  let run = 0; // counts sessions; what belongs to an earlier one is stale
  let kept = []; // by offset
  let pending = []; // own ones that have not come back
  let arrived = []; // pushes of this moment
  const byId = new Map();
  const typists = new Map(); // user id -> {user_id, username, timer}
  let joinTimer = 0;
  let presenceTimer = 0;
  let typingToldAt = 0;
  let typingTimer = 0;

  const isOurs = (push) => push.session_id === id;
  const show = () => (messages.value = [...kept, ...pending]);

  function reset() {
    kept = [];
    pending = [];
    arrived = [];
    byId.clear();
    for (const { timer } of typists.values()) clearTimeout(timer);
    typists.clear();
    for (const timer of [joinTimer, presenceTimer, typingTimer]) clearTimeout(timer);
    typingToldAt = 0;
    typing.value = [];
    present.value = [];
    isJoined.value = isLoading.value = hasOlder.value = false;
    error.value = null;
    show();
  }

  // Joining

  function enter(next) {
    run += 1;
    id = next;
    reset();
    if (id === null || id === undefined) return;
    const count = countOf(client);
    count.set(id, (count.get(id) ?? 0) + 1);
    if (client.state === "open") join();
  }

  function leave() {
    const left = id;
    run += 1;
    id = null;
    reset();
    if (left === null || left === undefined) return;
    const count = countOf(client);
    count.set(left, count.get(left) - 1);
    if (count.get(left) > 0) return;
    count.delete(left);
    if (client.sessions.includes(left) || client.state === "open") client.leave(left).catch(() => {});
  }

  async function join() {
    const mine = run;
    clearTimeout(joinTimer);
    try {
      const reply = await client.join(id);
      if (mine !== run) return;
      present.value = reply.users;
      isJoined.value = true;
      error.value = null;
      await load();
    } catch (failure) {
      if (mine !== run || failure.code === "disconnected") return; // `ws:open` joins
      if (failure.temporary) joinTimer = setTimeout(join, JOIN_AGAIN_MS);
      else error.value = failure;
    }
  }

  /** The last messages. */
  async function load() {
    const page = await history({ limit: pageSize });
    if (page) hasOlder.value = page.has_more;
  }

  async function history(range) {
    const mine = run;
    isLoading.value = true;
    try {
      const page = await client.history(id, range);
      if (mine !== run) return null;
      for (const push of page.messages) add(push, false);
      show();
      return page;
    } finally {
      if (mine === run) isLoading.value = false;
    }
  }

  /** The page before the first message; for scrolling up. */
  async function loadOlder() {
    if (!hasOlder.value || isLoading.value || kept.length === 0) return;
    const page = await history({ before: kept[0].offset, limit: pageSize });
    if (page) hasOlder.value = page.has_more;
  }

  // Messages

  function add(push, isUnread) {
    const isShown = typeof byId.get(push.id)?.offset === "number"; // else it waits in `pending`
    if (push.type !== "new_message" || isShown) return;
    const { message, offset } = push;
    const own = message.sender.user_id === client.connection?.user_id;
    const waiting = own ? pending.find(({ key }) => key === message.client_message_id) : undefined;
    const entry =
      waiting ?? entryOf(message.client_message_id && own ? message.client_message_id : push.id);
    Object.assign(entry, { id: push.id, message, offset: offset ?? Infinity, isOwn: own });
    entry.isUnread = isUnread && !own;
    if (entry.status === "sending" || entry.status === "failed") entry.status = "sent";
    entry.error = null;
    if (waiting) pending = pending.filter((each) => each !== waiting);
    byId.set(push.id, entry);
    let index = kept.length;
    while (index > 0 && kept[index - 1].offset > entry.offset) index -= 1;
    kept.splice(index, 0, entry);
  }

  function entryOf(key) {
    return shallowReactive({
      key,
      id: null,
      message: null,
      offset: null,
      status: "sent",
      error: null,
      isOwn: false,
      isUnread: false,
      deliveredTo: [],
      readBy: [],
    });
  }

  /** Many that arrive together are shown together. */
  function take(push) {
    if (arrived.push(push) > 1) return;
    queueMicrotask(() => {
      const pushes = arrived;
      arrived = [];
      if (pushes.length === 0) return;
      for (const each of pushes) {
        add(each, true);
        stopped(each.message.sender.user_id);
      }
      show();
    });
  }

  /** Say something; it is in `messages` at once. Resolves with its entry, sent or failed. */
  function send(content, { contentType = "text" } = {}) {
    const entry = entryOf(randomId());
    const sender = { user_id: client.connection?.user_id ?? "", username: null, role: null };
    entry.message = {
      id: entry.key,
      session_id: id,
      sender,
      content,
      content_type: contentType,
      created_at: new Date().toISOString(),
      client_message_id: entry.key,
    };
    entry.isOwn = true;
    pending = [...pending, entry];
    show();
    stopTyping();
    return deliver(entry);
  }

  async function deliver(entry) {
    const { content, content_type: contentType } = entry.message;
    entry.status = "sending";
    entry.error = null;
    try {
      const options = { contentType, clientMessageId: entry.key };
      const ack = await client.sendMessage(entry.message.session_id, content, options);
      entry.id = ack.message_id;
      if (!byId.has(ack.message_id)) byId.set(ack.message_id, entry); // for its statuses
      if (entry.status === "sending") entry.status = "sent";
    } catch (failure) {
      if (entry.status === "sending") Object.assign(entry, { status: "failed", error: failure });
    }
    return entry;
  }

  /** Send a failed message again; it arrives once, even if the first try got through. */
  function retry(entry) {
    return entry.status === "failed" ? deliver(entry) : Promise.resolve(entry);
  }

  /** Take a failed message off the list. */
  function discard(entry) {
    if (entry.status !== "failed") return;
    pending = pending.filter((each) => each !== entry);
    show();
  }

  /** The user has seen what is shown. */
  function markRead() {
    const seen = kept.filter((entry) => entry.isUnread);
    if (seen.length === 0) return;
    for (const entry of seen) entry.isUnread = false;
    client.markRead(seen.map((entry) => entry.id));
    show();
  }

  function progress({ message_id: messageId, status, user_id: userId }) {
    const entry = byId.get(messageId);
    const list = { delivered: "deliveredTo", read: "readBy" }[status];
    if (!entry?.isOwn || !list || entry[list].includes(userId)) return;
    entry[list] = [...entry[list], userId];
    if (status === "read" || entry.status === "sent") entry.status = status;
  }

  // Typing and presence

  function showTyping() {
    typing.value = [...typists.values()].map(({ user_id, username }) => ({ user_id, username }));
  }

  function stopped(userId) {
    const typist = typists.get(userId);
    if (typist === undefined) return;
    clearTimeout(typist.timer);
    typists.delete(userId);
    showTyping();
  }

  function typed({ user_id: userId, username, is_typing: isTyping }) {
    if (!isTyping) return stopped(userId);
    clearTimeout(typists.get(userId)?.timer);
    const timer = setTimeout(() => stopped(userId), TYPING_SHOWN_MS);
    typists.set(userId, { user_id: userId, username, timer });
    return showTyping();
  }

  /** To be called at every key: tells the others, not too often, and the end after a while. */
  function startTyping() {
    if (!isJoined.value) return;
    clearTimeout(typingTimer);
    typingTimer = setTimeout(stopTyping, TYPING_IDLE_MS);
    if (Date.now() - typingToldAt < TYPING_TOLD_MS) return;
    typingToldAt = Date.now();
    client.typing(id, true).catch(() => {});
  }

  function stopTyping() {
    clearTimeout(typingTimer);
    if (typingToldAt === 0) return;
    typingToldAt = 0;
    if (isJoined.value) client.typing(id, false).catch(() => {});
  }

  function lookAround() {
    if (!isJoined.value) return;
    const mine = run;
    clearTimeout(presenceTimer);
    presenceTimer = setTimeout(() => {
      client.presence(id).then(
        (reply) => mine === run && (present.value = reply.users),
        () => {},
      );
    }, PRESENCE_MS);
  }

  on(client, "ws:open", () => {
    if (id === null || id === undefined) return;
    if (!client.sessions.includes(id)) join();
  });
  on(client, "ws:rejoined", (detail) => isOurs(detail) && lookAround());
  on(client, "ws:lost", (detail) => {
    if (!isOurs(detail)) return;
    isJoined.value = false;
    error.value = detail.error;
  });
  on(client, "ws:gap", (detail) => {
    if (!isOurs(detail)) return;
    kept = [];
    byId.clear();
    load().catch((failure) => (error.value = failure));
  });
  on(client, "new_message", (push) => isOurs(push) && take(push));
  on(client, "message_status_update", (push) => isOurs(push) && progress(push));
  on(client, "typing", (push) => isOurs(push) && typed(push));
  on(client, "session_joined", (push) => isOurs(push) && lookAround());
  on(client, "session_left", (push) => {
    if (!isOurs(push)) return;
    stopped(push.user_id);
    if (push.user_id === client.connection?.user_id) isJoined.value = false;
    else lookAround();
  });

  watch(
    () => toValue(sessionId),
    (next) => {
      leave();
      enter(next);
    },
    { immediate: true },
  );
  onScopeDispose(leave);

  return {
    messages,
    unread,
    users: present,
    typing,
    isJoined,
    isLoading,
    hasOlder,
    error,
    send,
    retry,
    discard,
    loadOlder,
    markRead,
    startTyping,
    stopTyping,
  };
}

/** Notifications: those that pop up now, and the latest ones, newest first. */
export function useNotifications({
  limit = NOTIFICATIONS,
  popupMs = POPUP_MS,
  client = useWsClient(),
} = {}) {
  const notifications = shallowRef([]);
  const popups = shallowRef([]);
  const timers = new Set();
  const unread = computed(
    () => notifications.value.reduce((n, each) => n + (each.isRead ? 0 : 1), 0),
  );

  on(client, "notification", ({ notification }) => {
    const { action_url: url } = notification;
    const entry = shallowReactive({
      ...notification,
      action_url: typeof url === "string" && LINK.test(url) ? url : null,
      isRead: false,
    });
    notifications.value = [entry, ...notifications.value].slice(0, limit);
    popups.value = [...popups.value, entry];
    if (!notification.auto_close) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      dismiss(entry);
    }, popupMs);
    timers.add(timer);
  });
  onScopeDispose(() => timers.forEach((timer) => clearTimeout(timer)));

  /** Take it off the pop-ups. */
  function dismiss(entry) {
    popups.value = popups.value.filter((each) => each !== entry);
  }

  /** The user has seen it: on all devices. */
  function markRead(...entries) {
    for (const entry of entries.length > 0 ? entries : notifications.value) {
      if (entry.isRead) continue;
      entry.isRead = true;
      client.markRead(entry.id);
    }
    notifications.value = [...notifications.value];
  }

  return { notifications, popups, unread, dismiss, markRead };
}

/** Listen for as long as the component lives. */
function on(client, name, handle) {
  const listener = ({ detail }) => handle(detail);
  client.addEventListener(name, listener);
  onScopeDispose(() => client.removeEventListener(name, listener));
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
