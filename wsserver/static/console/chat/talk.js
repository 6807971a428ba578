/** Chat view: the joined sessions, their users and messages. */

import { addLine, byId, h, isAtEnd } from "../parts/dom.js";
import { Message } from "./message.js";
import { text } from "./texts.js";
import { toast } from "./toasts.js";

const MESSAGES_LIMIT = 500;
const PAGE = 50; // messages of one page of history
const TYPING_LASTS_MS = 6000; // without a timeout, a disconnected user would type for ever
const TYPING_REPEATS_MS = 3000;
const PEOPLE_EVERY_MS = 3000; // nothing is pushed when one of a user's connections comes or ends
const SLOW_MS = 300; // an answer that takes longer is one that a user waits for

export class Talk {
  #client = null;
  // id -> {messages: [Message], users, typists: Map(id -> {name, timer}), unread, hasOlder}
  #sessions = new Map();
  #current = null;
  #typedAt = 0;
  #isTyping = false;
  #typingTimer = 0;
  #isCounting = false;

  constructor() {
    byId("join").addEventListener("submit", (event) => this.#onJoin(event));
    byId("composer").addEventListener("submit", (event) => this.#onSend(event));
    byId("older").addEventListener("click", () => this.#loadOlder(this.#current));
    document.addEventListener("visibilitychange", () => this.#markRead());
    const draft = byId("draft");
    setInterval(() => this.#recount(), PEOPLE_EVERY_MS);
    draft.placeholder = text("message_hint");
    draft.addEventListener("input", () => this.#onInput());
    draft.addEventListener("keydown", (event) => {
      // While an input method composes (pinyin), Enter chooses a word.
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        byId("composer").requestSubmit();
      }
    });
  }

  /** Use this client from now on. */
  attach(client) {
    this.#client = client;
    this.#sessions.clear();
    this.#current = null;
    this.#renderUnsent(client);
    const on = (name, handle) =>
      client.addEventListener(name, ({ detail }) => client === this.#client && handle(detail));
    on("ws:open", (push) => push.session_id && this.#add(push.session_id));
    on("ws:rejoined", ({ session_id, missed }) => {
      if (missed) toast(text("recovered", { session: session_id, n: missed }));
      this.#count({ session_id });
    });
    on("ws:gap", ({ session_id, stream, reason }) => this.#onGap(session_id ?? stream, reason));
    on("ws:lost", ({ session_id, error }) => {
      toast(text("lost", { session: session_id, reason: error.message }), { kind: "warning" });
      this.#remove(session_id);
    });
    on("new_message", (push) => this.#show(push));
    for (const name of ["message_updated", "message_deleted", "answer_ended"]) {
      on(name, ({ message }) => this.#change(message));
    }
    on("ws:answer", ({ answer }) =>
      answer.addEventListener("text", () =>
        this.#change({ ...answer.message, content: answer.text }),
      ),
    );
    on("message_status_update", (update) => this.#noteStatus(update));
    on("typing", (push) => this.#noteTyping(push));
    on("session_joined", (push) => (push.users ? this.#entered(push) : this.#count(push)));
    on("session_left", (push) =>
      push.user_id === client.connection?.user_id ? this.#remove(push.session_id) : this.#count(push),
    );
    this.#render();
  }

  // Joining and leaving

  async #onJoin(event) {
    event.preventDefault();
    const field = byId("join-session");
    const session = field.value.trim();
    try {
      const reply = await this.#client.join(session);
      field.value = "";
      this.#entered(reply);
      this.#choose(session);
      byId("draft").focus();
    } catch (error) {
      toast(text("not_joined", { session, reason: error.message }), { kind: "error" });
    }
  }

  async #leave(id) {
    try {
      await this.#client.leave(id);
      this.#remove(id);
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }

  #add(id) {
    if (!this.#sessions.has(id)) {
      const session = { messages: [], users: [], typists: new Map(), unread: 0, hasOlder: false };
      this.#sessions.set(id, session);
      this.#loadOlder(id);
    }
    this.#current ??= id;
    this.#render();
  }

  #remove(id) {
    this.#sessions.delete(id);
    if (this.#current === id) {
      this.#isTyping = false;
      this.#current = this.#sessions.keys().next().value ?? null;
    }
    this.#render();
  }

  #entered({ session_id: id, users }) {
    this.#add(id);
    this.#sessions.get(id).users = users;
    this.#render();
  }

  /** Refresh the user list after a join or leave: the push lacks the number of connections. */
  async #count({ session_id: id }) {
    try {
      const { users } = await this.#client.presence(id);
      const session = this.#sessions.get(id);
      if (session) session.users = users;
      this.#renderPeople();
    } catch {
      // Disconnected meanwhile: joining again brings the list.
    }
  }

  /** Refresh the user list that is seen, for the numbers of connections. */
  async #recount() {
    if (document.hidden || this.#current === null || this.#isCounting) return;
    this.#isCounting = true;
    await this.#count({ session_id: this.#current });
    this.#isCounting = false;
  }

  #choose(id) {
    this.#stopTyping();
    this.#current = id;
    this.#sessions.get(id).unread = 0;
    this.#render();
    this.#markRead();
  }

  // History

  /** Fetch the page of history before the first message that is shown, or the last one. */
  async #loadOlder(id) {
    const session = this.#sessions.get(id);
    if (!session || session.isLoading) return;
    session.isLoading = true;
    const before = session.messages.find((message) => message.offset)?.offset;
    try {
      const page = await this.#client.history(id, { before, limit: PAGE });
      const shown = new Set(session.messages.map((message) => message.id));
      const older = page.messages.filter((push) => push.message && !shown.has(push.id));
      session.messages.unshift(...older.map((push) => this.#make(push)));
      session.hasOlder = page.has_more;
      if (id === this.#current && this.#sessions.get(id) === session) {
        const list = byId("messages");
        const fromEnd = list.scrollHeight - list.scrollTop;
        const wasAtEnd = isAtEnd(list);
        this.#renderMessages();
        list.scrollTop = wasAtEnd ? list.scrollHeight : list.scrollHeight - fromEnd;
        this.#markRead();
      }
    } catch (error) {
      if (error.code !== "disconnected") toast(error.message, { kind: "error" });
    } finally {
      session.isLoading = false;
    }
  }

  /** Some missed messages were lost: reload the history, which has those that are kept. */
  #onGap(where, reason) {
    toast(text("gap", { stream: where, reason }), { kind: "warning", stays: true });
    const session = this.#sessions.get(where);
    if (!session) return;
    session.messages = [];
    this.#loadOlder(where);
  }

  // Sending

  async #onSend(event) {
    event.preventDefault();
    const draft = byId("draft");
    const content = draft.value.trim();
    if (content === "") return;
    const session = this.#current;
    draft.value = "";
    this.#stopTyping();
    const client = this.#client;
    const sent = client.sendMessage(session, content);
    const timer = setTimeout(() => this.#renderUnsent(client), SLOW_MS);
    try {
      await sent;
    } catch (error) {
      toast(text("not_sent", { reason: error.message }), { kind: "error" });
      if (draft.value === "" && this.#current === session) draft.value = content;
    } finally {
      clearTimeout(timer);
      if (client.unsent === 0) this.#renderUnsent(client);
    }
  }

  /** How many messages wait, without a connection or as the server cannot store them yet. */
  #renderUnsent(client) {
    if (client !== this.#client) return;
    byId("unsent").textContent = client.unsent ? text("waits", { n: client.unsent }) : "";
  }

  #onInput() {
    if (byId("draft").value.trim() === "") {
      this.#stopTyping();
      return;
    }
    const now = performance.now();
    if (!this.#isTyping || now - this.#typedAt > TYPING_REPEATS_MS) {
      this.#isTyping = true;
      this.#typedAt = now;
      this.#client.typing(this.#current, true).catch(() => {});
    }
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => this.#stopTyping(), TYPING_REPEATS_MS);
  }

  #stopTyping() {
    clearTimeout(this.#typingTimer);
    if (!this.#isTyping) return;
    this.#isTyping = false;
    this.#client.typing(this.#current, false).catch(() => {});
  }

  // Receiving

  #show(push) {
    const { message } = push;
    const session = this.#sessions.get(message.session_id);
    // The first page of history may contain it already.
    if (!session || session.messages.some(({ id }) => id === push.id)) return;
    const line = this.#make(push);
    session.messages.push(line);
    if (session.messages.length > MESSAGES_LIMIT) {
      session.messages.shift();
      session.hasOlder = true;
    }
    this.#noteTyping({ ...message, user_id: message.sender?.user_id, is_typing: false });
    if (message.session_id === this.#current) {
      addLine(byId("messages"), line.element, MESSAGES_LIMIT);
      this.#markRead();
    } else {
      session.unread += 1;
      this.#renderSessions();
    }
  }

  /** A message is another one now: edited, grown or deleted. */
  #change(message) {
    const list = byId("messages");
    const wasAtEnd = isAtEnd(list);
    this.#sessions
      .get(message.session_id)
      ?.messages.find(({ id }) => id === message.id)
      ?.change(message);
    if (wasAtEnd) list.scrollTop = list.scrollHeight;
  }

  #make(push) {
    return new Message(push, this.#client.connection?.user_id);
  }

  #noteStatus({ message_id: id, session_id: session, status, user_id: user }) {
    this.#sessions
      .get(session)
      ?.messages.find((message) => message.id === id)
      ?.note(status, user);
  }

  /** Mark the messages of the current session as read, if the page is visible. */
  #markRead() {
    if (document.hidden || this.#current === null) return;
    const messages = this.#sessions.get(this.#current).messages;
    const ids = messages.filter((message) => message.isUnread).map(({ id }) => id);
    for (const message of messages) message.isUnread = false;
    if (ids.length > 0) this.#client.markRead(ids);
  }

  #noteTyping({ session_id: id, user_id: user, username, is_typing: isTyping }) {
    const typists = this.#sessions.get(id)?.typists;
    if (!typists) return;
    clearTimeout(typists.get(user)?.timer);
    typists.delete(user);
    if (isTyping) {
      const timer = setTimeout(() => {
        typists.delete(user);
        this.#renderTyping();
      }, TYPING_LASTS_MS);
      typists.set(user, { name: username ?? user, timer });
    }
    this.#renderTyping();
  }

  // Rendering

  #render() {
    this.#renderSessions();
    this.#renderPeople();
    this.#renderTyping();
    byId("talk").hidden = this.#current === null;
    if (this.#current === null) return;
    byId("talk-title").textContent = this.#current;
    const list = byId("messages");
    list.setAttribute("aria-label", text("messages_of", { session: this.#current }));
    this.#renderMessages();
    list.scrollTop = list.scrollHeight;
  }

  #renderMessages() {
    const { messages, hasOlder } = this.#sessions.get(this.#current);
    byId("messages").replaceChildren(...messages.map(({ element }) => element));
    byId("older").hidden = !hasOlder;
  }

  #renderSessions() {
    const isBound = Boolean(this.#client?.connection?.session_id);
    byId("join").hidden = isBound;
    byId("no-sessions").hidden = this.#sessions.size > 0;
    byId("sessions").replaceChildren(
      ...[...this.#sessions].map(([id, session]) => {
        const name = h("button", { type: "button", onclick: () => this.#choose(id) }, id);
        if (id === this.#current) name.setAttribute("aria-current", "true");
        if (session.unread) {
          const label = text("unread", { n: session.unread });
          name.append(h("span", { className: "badge", title: label }, String(session.unread)));
        }
        const leave = h(
          "button",
          {
            type: "button",
            className: "quiet",
            "aria-label": text("leave_session", { session: id }),
            onclick: () => this.#leave(id),
          },
          text("leave"),
        );
        return h("li", {}, name, isBound ? null : leave);
      }),
    );
  }

  #renderPeople() {
    const users = this.#sessions.get(this.#current)?.users ?? [];
    byId("people-panel").hidden = users.length === 0;
    byId("people").replaceChildren(
      ...users.map((user) =>
        h(
          "li",
          {},
          user.username ?? user.user_id,
          user.user_id === this.#client.connection?.user_id
            ? h("small", {}, ` (${text("you")})`)
            : null,
          user.connections > 1 ? h("small", {}, ` ×${user.connections}`) : null,
        ),
      ),
    );
  }

  #renderTyping() {
    const names = [...(this.#sessions.get(this.#current)?.typists.values() ?? [])].map(
      ({ name }) => name,
    );
    const who = names.slice(0, 3).join(text("and"));
    byId("typing").textContent = names.length
      ? text(names.length > 1 ? "many_type" : "one_types", { who })
      : "";
  }
}
