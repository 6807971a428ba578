/** One-line summaries of pushes. */

import { text } from "./texts.js";

/** Periodic pushes; hidden by default. */
export const BEATS = new Set(["ping", "stats_update"]);

const LINES = {
  __proto__: null,
  connection_established: (push) => ({ user: push.user_id, connection: push.connection_id }),
  ping: (push) => ({ id: push.id }),
  session_joined: (push) => ({ user: push.user_id, session: push.session_id }),
  session_left: (push) => ({ user: push.user_id, session: push.session_id }),
  new_message: ({ message }) => ({
    user: nameOf(message.sender),
    session: message.session_id,
    text: contentOf(message),
  }),
  message_updated: ({ message }) => ({ id: message.id, text: contentOf(message) }),
  message_deleted: (push) => ({ id: push.message_id }),
  answer_appended: (push) => ({ id: push.message_id, text: push.text }),
  answer_ended: (push) => ({ id: push.message_id, state: push.state }),
  message_status_update: (push) => ({
    id: push.message_id,
    status: push.status,
    user: push.user_id,
  }),
  ai_processing_status: (push) => ({
    session: push.session_id,
    status: push.status,
    detail: push.delta ?? push.detail ?? (push.progress && `${Math.round(push.progress * 100)} %`),
  }),
  notification: ({ notification }) => ({ title: notification.title, text: notification.message }),
  stats_update: ({ stats }) => ({
    n: stats.total_connections,
    users: stats.active_users,
    sessions: stats.active_sessions,
  }),
  token_expiring: (push) => ({ at: timeOf(push.expires_at) }),
  server_draining: (push) => ({ s: (push.reconnect_after_ms / 1000).toFixed(1) }),
};

/** The summary of a push; for other types, its data or its fields. */
export function lineOf(push) {
  if (push.type === "typing") {
    const user = push.username ?? push.user_id;
    return text(push.is_typing ? "typing_on" : "typing_off", { user, session: push.session_id });
  }
  if (push.type === "user_status_update") {
    const isOnline = push.status === "online";
    return text(isOnline ? "user_online" : "user_offline", {
      user: push.user_id,
      n: push.connections,
    });
  }
  if (push.type === "event") {
    const { name, timestamp, ...fields } = push.event;
    return `${name} ${shortJson(fields)}`;
  }
  const values = LINES[push.type]?.(push);
  if (values) return text(push.type, values);
  const { type, timestamp, stream, epoch, offset, ...rest } = push;
  return shortJson(push.data ?? push.error ?? rest);
}

/** The name to show for a sender; of a deleted message there is none. */
export function nameOf(sender) {
  if (!sender) return "–";
  return sender.username ?? (sender.user_id === "system" ? text("system") : sender.user_id);
}

/** A message's content as text. */
export function contentOf({ content, deleted }) {
  if (deleted) return text("deleted");
  return typeof content === "string" ? content : JSON.stringify(content);
}

/** A time of day in the reader's zone. */
export function timeOf(timestamp) {
  const time = timestamp ? new Date(timestamp) : new Date();
  return time.toLocaleTimeString([], { hour12: false });
}

function shortJson(value) {
  if (typeof value?.text === "string") return value.text;
  const json = JSON.stringify(value);
  return json.length > 200 ? `${json.slice(0, 200)}…` : json;
}
