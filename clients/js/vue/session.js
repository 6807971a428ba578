/** A session: its messages, those that are being sent, who is there and who types. */

import { onScopeDispose, ref, shallowRef, toValue, watch } from "vue";

import { on, useWsClient } from "./client.js";
import { Entries } from "./entries.js";
import { oncePerFrame } from "./frames.js";
import { useTyping } from "./typing.js";

const PAGE = 50;
const LIMIT = 10_000;
const PRESENCE_MS = 200;
const JOIN_AGAIN_MS = 2000;

/** How many components use which session of a client; the last one leaves it. */
const uses = new WeakMap(); // client -> Map of session id -> count

function countOf(client) {
  if (!uses.has(client)) uses.set(client, new Map());
  return uses.get(client);
}

/** A session, joined as long as a component uses it. */
export function useSession(
  sessionId,
  { pageSize = PAGE, limit = LIMIT, checkSeen = false, client = useWsClient() } = {},
) {
  const current = ref(null); // the id of the session
  const messages = shallowRef([]);
  const unread = ref(0);
  const present = shallowRef([]);
  const isJoined = ref(false);
  const isLoading = ref(false);
  const hasOlder = ref(false);
  const error = shallowRef(null);
  const firstUnread = shallowRef(null); // at the time of joining
  const target = shallowRef(null); // {kind: "reply" | "edit", entry}: what is written is about it

  let entered = withResolvers(); // once the session is joined, or cannot be
  let id = null;
  let run = 0; // counts sessions; what belongs to an earlier one is stale
  let arrived = []; // pushes that are not shown yet
  let joinTimer = 0;
  let presenceTimer = 0;
  const entries = new Entries(limit);
  const { typing, typed, stopped, startTyping, stopTyping, reset } = useTyping((isTyping) => {
    if (isJoined.value) client.typing(id, isTyping).catch(() => {});
  });

  const isOurs = (push) => push.session_id === id;
  const userId = () => client.connection?.user_id;

  function show() {
    messages.value = entries.all;
    unread.value = entries.unread;
  }

  function clear() {
    entries.clear();
    reset();
    arrived = [];
    for (const timer of [joinTimer, presenceTimer]) clearTimeout(timer);
    present.value = [];
    isJoined.value = isLoading.value = hasOlder.value = false;
    error.value = target.value = firstUnread.value = null;
    show();
  }

  // Joining

  function enter(next) {
    run += 1;
    id = current.value = next ?? null;
    clear();
    if (id === null) return;
    const count = countOf(client);
    count.set(id, (count.get(id) ?? 0) + 1);
    if (client.state === "open") join();
  }

  function leave() {
    const left = id;
    run += 1;
    entered.resolve();
    entered = withResolvers();
    id = current.value = null;
    clear();
    if (left === null) return;
    const count = countOf(client);
    count.set(left, count.get(left) - 1);
    if (count.get(left) > 0) return;
    count.delete(left);
    if (client.sessions.includes(left) || client.state === "open")
      client.leave(left).catch(() => {});
  }

  async function join() {
    const mine = run;
    clearTimeout(joinTimer);
    try {
      const reply = await client.join(id);
      if (mine !== run) return;
      entries.userId = userId();
      look(reply.users);
      isJoined.value = true;
      error.value = null;
      entered.resolve();
      await load();
    } catch (failure) {
      if (mine !== run || failure.code === "disconnected") return; // `ws:open` joins
      if (failure.temporary) joinTimer = setTimeout(join, JOIN_AGAIN_MS);
      else {
        error.value = failure;
        entered.resolve(); // what is sent fails for the same reason
      }
    }
  }

  /** These are there, and have read so far. */
  function look(users) {
    present.value = users;
    for (const { user_id: user, read_offset: offset } of users) entries.readUpTo(user, offset);
  }

  /** The last messages. */
  async function load() {
    const page = await history({ limit: pageSize });
    if (page) hasOlder.value = page.has_more;
  }

  async function history(range, isLoaded = false) {
    const mine = run;
    isLoading.value = true;
    try {
      const page = await client.history(id, range);
      if (mine !== run) return null;
      for (const push of page.messages) put(push, { isLive: false, isLoaded });
      if (firstUnread.value === null && !isLoaded) firstUnread.value = entries.firstUnread;
      show();
      return page;
    } finally {
      if (mine === run) isLoading.value = false;
    }
  }

  /** The page before the first message; for scrolling up. */
  async function loadOlder() {
    const before = entries.firstOffset;
    if (!hasOlder.value || isLoading.value || before === null) return;
    const page = await history({ before, limit: pageSize }, true);
    if (page) hasOlder.value = page.has_more;
  }

  // Messages

  function put(push, how) {
    entries.add(push, how);
    if (push.message?.state === "growing") follow(client.answer(push.id));
  }

  function showNow() {
    const pushes = arrived;
    arrived = [];
    if (pushes.length === 0) return;
    for (const push of pushes) put(push, { isLive: true });
    if (entries.trim()) hasOlder.value = true;
    show();
  }
  const showArrived = oncePerFrame(showNow);

  // Answers that grow: their texts are shown once a frame, whatever has come.

  const followed = new WeakSet();
  const grown = new Set(); // ids of those with more text than is shown
  const showGrown = oncePerFrame(() => {
    for (const messageId of grown) showAnswer(client.answer(messageId));
    grown.clear();
  });

  function showAnswer(answer) {
    const entry = entries.get(answer?.id);
    if (entry === undefined || entry.message.deleted) return;
    entry.message = { ...answer.message, content: answer.text, state: answer.state };
  }

  /** Show the text of an answer as it grows, from now on. */
  function follow(answer) {
    if (!answer || followed.has(answer)) return;
    followed.add(answer);
    const grow = () => {
      grown.add(answer.id);
      showGrown();
    };
    answer.addEventListener("text", grow);
    grow();
  }

  on(client, "answer_ended", (push) => {
    if (!isOurs(push)) return;
    showNow();
    grown.delete(push.message_id);
    entries.change({ message: { ...push.message, reason: push.reason } });
  });

  /** Stop an answer that grows. */
  function stop(entry) {
    return ask(entry, () => client.cancelAnswer(entry.id));
  }

  /**
   * Say something; it is in `messages` at once. Resolves with its entry, sent or failed.
   *
   * @param {string | object} content
   * @param {{contentType?: string, replyTo?: string | null}} [options]
   */
  function send(content, { contentType = "text", replyTo } = {}) {
    const key = randomId();
    const entry = entries.begin({
      id: key,
      session_id: id,
      sender: { user_id: userId() ?? "", username: null, role: null },
      content,
      content_type: contentType,
      created_at: new Date().toISOString(),
      client_message_id: key,
      reply_to: replyTo ?? undefined,
    });
    show();
    stopTyping();
    return deliver(entry);
  }

  async function deliver(entry) {
    const { content, content_type: contentType, session_id: into } = entry.message;
    entry.status = "sending";
    entry.error = null;
    const seenOffset = toValue(checkSeen) ? entries.lastOffset : undefined; // before any wait
    try {
      await entered.promise;
      const { reply_to: replyTo } = entry.message;
      const options = { contentType, clientMessageId: entry.key, replyTo, seenOffset };
      const ack = await client.sendMessage(into, content, options);
      entries.acknowledged(entry, ack.message_id);
    } catch (failure) {
      if (entry.status === "sending") Object.assign(entry, { status: "failed", error: failure });
      const missed = failure.details?.missed;
      if (missed && into === id) {
        for (const push of missed) put(push, { isLive: true });
        show();
      }
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
    entries.discard(entry);
    show();
  }

  /** Replace the content of a message; `entry.error` says why that was not possible. */
  function edit(entry, content) {
    return ask(entry, () => client.editMessage(entry.id, content));
  }

  /** Delete a message. */
  function remove(entry) {
    return ask(entry, () => client.deleteMessage(entry.id));
  }

  async function ask(entry, command) {
    entry.error = null;
    try {
      await command();
    } catch (failure) {
      entry.error = failure;
    }
    return entry;
  }

  /** The user has read what is shown, or everything up to an offset. */
  function markRead(upTo) {
    const read = entries.takeUnread(upTo);
    if (read.length === 0) return;
    client.markRead(read.map((entry) => entry.id));
    client.markRead(id, Math.max(...read.map(({ offset }) => offset)));
    unread.value = entries.unread;
  }

  function lookAround() {
    if (!isJoined.value) return;
    const mine = run;
    clearTimeout(presenceTimer);
    presenceTimer = setTimeout(() => {
      client.presence(id).then(
        (reply) => mine === run && look(reply.users),
        () => {},
      );
    }, PRESENCE_MS);
  }

  on(client, "ws:open", ({ user_id: present }) => {
    const isOther = entries.userId !== undefined && entries.userId !== present;
    if (isOther) {
      run += 1;
      clear(); // as the other user sees it
    }
    if (id !== null && (isOther || !client.sessions.includes(id))) join();
  });
  on(client, "ws:rejoined", (detail) => isOurs(detail) && lookAround());
  on(client, "ws:lost", (detail) => {
    if (!isOurs(detail)) return;
    isJoined.value = false;
    error.value = detail.error;
  });
  on(client, "ws:gap", (detail) => {
    if (!isOurs(detail)) return;
    arrived = [];
    entries.clearKept();
    load().catch((failure) => (error.value = failure));
  });
  on(client, "new_message", (push) => {
    if (!isOurs(push)) return;
    stopped(push.message.sender?.user_id);
    arrived.push(push);
    showArrived();
  });
  for (const type of ["message_updated", "message_deleted"]) {
    on(client, type, (push) => {
      if (!isOurs(push)) return;
      showNow(); // what it is about may still be waiting
      entries.change(push);
      unread.value = entries.unread;
    });
  }
  on(client, "read_position", (push) => {
    if (!isOurs(push)) return;
    entries.readUpTo(push.user_id, push.offset);
    unread.value = entries.unread;
  });
  on(client, "message_status_update", (push) => isOurs(push) && entries.progress(push));
  on(client, "typing", (push) => isOurs(push) && typed(push));
  on(client, "session_joined", (push) => isOurs(push) && lookAround());
  on(client, "session_left", (push) => {
    if (!isOurs(push)) return;
    stopped(push.user_id);
    if (push.user_id === userId()) isJoined.value = false;
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
    sessionId: current,
    client,
    messages,
    unread,
    firstUnread,
    users: present,
    typing,
    isJoined,
    isLoading,
    hasOlder,
    error,
    send,
    retry,
    discard,
    edit,
    remove,
    stop,
    find: (messageId) => entries.get(messageId),
    target,
    loadOlder,
    markRead,
    startTyping,
    stopTyping,
  };
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}
