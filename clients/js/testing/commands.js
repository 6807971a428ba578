/** What the server in memory answers to each command. */

import { refusal } from "./messages.js";
import { SESSION } from "./state.js";

/** @typedef {{state: import("./state.js").State, messages: import("./messages.js").Messages,
 *   conversations: import("./conversations.js").Conversations,
 *   answers: import("./answers.js").FakeAnswers, feed: import("./feed.js").Feed}} Parts */

/** By command: (command, connection, parts) => reply. */
export const ANSWERS = {
  __proto__: null,
  ping: ({ data }, _, { state }) => ({
    type: "pong",
    server_time: state.time(),
    ...(data === undefined ? {} : { data }),
  }),
  join_session: ({ session_id: id, since, changes }, connection, { messages }) => {
    return { type: "session_joined", ...messages.join(connection, id, since, changes) };
  },
  leave_session: ({ session_id: id }, connection, { state }) => {
    state.exit(connection, id);
    return { type: "session_left", session_id: id, user_id: connection.userId };
  },
  send_message: joined((command, connection, { messages }) => messages.accept(connection, command)),
  edit_message: ({ message_id: id, content }, { userId }, { messages }) =>
    changed(id, messages.edit(id, content, userId)),
  delete_message: ({ message_id: id }, { userId }, { messages }) =>
    changed(id, messages.delete(id, userId)),
  cancel_answer: (command, _, { answers }) => answers.cancel(command),
  typing: joined(({ session_id: id, is_typing: isTyping }, { userId }, { state }) => {
    const push = { type: "typing", session_id: id, user_id: userId, username: null };
    const others = state.in(id).filter((each) => each.userId !== userId);
    state.send({ ...push, is_typing: isTyping }, others);
    return { type: "ack" };
  }),
  presence: joined(({ session_id: id }, _, { conversations }) => {
    return { type: "presence", session_id: id, users: conversations.presence(id) };
  }),
  history: (command, _, { messages }) => messages.history(command),
  resume: ({ streams }, connection, { state, messages }) => {
    const answers = Object.entries(streams).map(([name, since]) => {
      const answer = state.recover(name, since);
      if (name.startsWith(SESSION)) {
        const sessionId = name.slice(SESSION.length);
        state.enter(connection, sessionId);
        if (answer.recovered) answer.messages.unshift(...messages.growing(sessionId, since.offset));
      }
      return [name, answer];
    });
    return { type: "resumed", streams: Object.fromEntries(answers) };
  },
  ack: (command, connection, { messages }) => messages.receipt(connection, command, "delivered"),
  read: (command, connection, { messages, feed }) => {
    const answer = messages.receipt(connection, command, "read");
    feed.read(connection.userId, command.ids);
    return answer;
  },
  notifications: (command, connection, { feed }) => feed.list(connection, command),
  mark_notifications: (command, connection, { feed }) => feed.mark(connection, command),
  preferences: (command, connection, { feed }) => feed.preferences(connection, command),
  conversations: (command, connection, { conversations }) =>
    conversations.list(connection, command),
  mark_read: (command, connection, { conversations }) =>
    conversations.markRead(connection, command),
  search: (command, connection, { messages }) => messages.search(connection, command),
  take: (command, connection, { conversations }) => conversations.take(connection, command),
  release: (command, connection, { conversations }) => conversations.release(connection, command),
  refresh_token: (_, __, { state }) => {
    const hour = new Date(state.now.getTime() + 3_600_000);
    return { type: "token_refreshed", expires_at: hour.toISOString() };
  },
};

/** Only in a session that the connection has joined. */
function joined(answer) {
  return (command, connection, parts) => {
    const { session_id: id } = command;
    if (!connection.sessions.has(id)) return refusal("not_joined", `session ${id} not joined`);
    return answer(command, connection, parts);
  };
}

function changed(id, push) {
  if (push === null) return refusal("not_found", `no message ${id}`);
  const { stream, epoch, offset } = push;
  return { type: "ack", message_id: id, stream, epoch, offset };
}
