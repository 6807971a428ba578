/** Texts of the chat tester, in English and Chinese. `{name}` is filled in. */

import { LANGUAGE } from "../parts/i18n.js";

export { LANGUAGE };

const EN = {
  chat_tester: "chat tester",
  connect_as: "Connect as {user}",
  connect: "Connect",
  disconnect: "Disconnect",
  token: "Token",
  token_hint: "Make one on the server's machine:",
  endpoint: "Endpoint",
  endpoint_chat: "Chat: join and leave sessions",
  endpoint_session: "One session",
  endpoint_monitor: "Monitor: chat, statistics and events",
  session_id: "Session id",
  sessions: "Sessions",
  no_sessions: "Join a session to talk in it.",
  join: "Join",
  leave: "Leave",
  leave_session: "Leave {session}",
  people: "People here",
  message: "Message",
  message_hint: "Enter sends, Shift+Enter starts a new line",
  send: "Send",
  live: "Live",
  no_lines: "What the server pushes appears here.",
  show_beats: "Heartbeats and statistics",
  pause: "Pause",
  resume: "Resume",
  clear: "Clear",
  notifications: "Notifications",
  dismiss: "Dismiss",
  open_link: "Open",
  you: "you",
  system: "system",
  messages_of: "Messages in {session}",
  older: "Older messages",
  inbox: "Inbox",
  inbox_state: "{n} waited when you connected; the stream is at {offset}",
  live_only: "live, not kept",
  status_sent: "sent",
  status_delivered: "delivered",
  status_read: "read",
  unread: "{n} unread",
  one_types: "{who} is typing …",
  many_type: "{who} are typing …",
  and: ", ",

  state_idle: "Not connected",
  state_connecting: "Connecting …",
  state_open: "Connected",
  state_waiting: "Reconnecting in {s} s",
  state_closed: "Disconnected",

  closed: "Connection closed: {code} {reason}",
  closed_again: "Connection lost: {code} {reason}; next try in {s} s",
  ticket_used: "The ticket in the address works only once. Paste a token, or open the address that a newly started server prints.",
  not_sent: "Not sent: {reason}",
  not_joined: "Cannot join {session}: {reason}",
  lost: "No longer in {session}: {reason}",
  waits: "Sent as soon as there is a connection; waiting: {n}",
  recovered: "{session}: {n} messages that were missed have come",
  gap: "{stream}: not all that was missed can be given ({reason})",

  connection_established: "connected as {user} ({connection})",
  ping: "heartbeat {id}",
  session_joined: "{user} joined {session}",
  session_left: "{user} left {session}",
  new_message: "{user} in {session}: {text}",
  typing_on: "{user} is typing in {session}",
  typing_off: "{user} stopped typing in {session}",
  user_online: "{user} is online, connections: {n}",
  user_offline: "{user} is offline",
  message_status_update: "message {id}: {status} {user}",
  ai_processing_status: "AI in {session}: {status} {detail}",
  notification: "{title}: {text}",
  stats_update: "connections: {n}, users: {users}, sessions: {sessions}",
  token_expiring: "the token expires at {at}",
  server_draining: "the server restarts; back in {s} s",

  stat_total_connections: "Connections",
  stat_active_users: "Users",
  stat_active_sessions: "Sessions",
  stat_sent_rate: "Sent per second",
  stat_received_rate: "Received per second",
  stat_errors: "Errors",
};

const ZH = {
  chat_tester: "聊天测试",
  connect_as: "以 {user} 的身份连接",
  connect: "连接",
  disconnect: "断开",
  token: "令牌",
  token_hint: "在服务器所在的机器上生成：",
  endpoint: "端点",
  endpoint_chat: "聊天：可加入和离开多个会话",
  endpoint_session: "单个会话",
  endpoint_monitor: "监控：聊天、统计和事件",
  session_id: "会话 ID",
  sessions: "会话",
  no_sessions: "加入一个会话后即可聊天。",
  join: "加入",
  leave: "离开",
  leave_session: "离开 {session}",
  people: "在场的人",
  message: "消息",
  message_hint: "回车发送，Shift+回车换行",
  send: "发送",
  live: "实时推送",
  no_lines: "服务器推送的内容会显示在这里。",
  show_beats: "心跳和统计",
  pause: "暂停",
  resume: "继续",
  clear: "清空",
  notifications: "通知",
  dismiss: "关闭",
  open_link: "查看",
  you: "我",
  system: "系统",
  messages_of: "{session} 的消息",
  older: "更早的消息",
  inbox: "收件箱",
  inbox_state: "连接时有 {n} 条待收消息；流的位置 {offset}",
  live_only: "实时，未保存",
  status_sent: "已发送",
  status_delivered: "已送达",
  status_read: "已读",
  unread: "{n} 条未读",
  one_types: "{who} 正在输入……",
  many_type: "{who} 正在输入……",
  and: "、",

  state_idle: "未连接",
  state_connecting: "正在连接……",
  state_open: "已连接",
  state_waiting: "{s} 秒后重连",
  state_closed: "已断开",

  closed: "连接已关闭：{code} {reason}",
  closed_again: "连接中断：{code} {reason}；{s} 秒后重试",
  ticket_used: "地址里的票据只能用一次。请粘贴令牌，或打开服务器重新启动时打印的地址。",
  not_sent: "未发送：{reason}",
  not_joined: "无法加入 {session}：{reason}",
  lost: "已不在 {session} 中：{reason}",
  waits: "连接恢复后发送；待发 {n} 条",
  recovered: "{session}：已补收 {n} 条错过的消息",
  gap: "{stream}：错过的消息无法全部补齐（{reason}）",

  connection_established: "已连接，用户 {user}（{connection}）",
  ping: "心跳 {id}",
  session_joined: "{user} 加入了 {session}",
  session_left: "{user} 离开了 {session}",
  new_message: "{user} 在 {session} 说：{text}",
  typing_on: "{user} 正在 {session} 输入",
  typing_off: "{user} 在 {session} 停止输入",
  user_online: "{user} 在线，连接数 {n}",
  user_offline: "{user} 离线",
  message_status_update: "消息 {id}：{status} {user}",
  ai_processing_status: "{session} 的 AI：{status} {detail}",
  notification: "{title}：{text}",
  stats_update: "{n} 个连接，{users} 个用户，{sessions} 个会话",
  token_expiring: "令牌将于 {at} 过期",
  server_draining: "服务器即将重启，{s} 秒后重连",

  stat_total_connections: "连接",
  stat_active_users: "用户",
  stat_active_sessions: "会话",
  stat_sent_rate: "每秒发送",
  stat_received_rate: "每秒接收",
  stat_errors: "错误",
};

const TEXTS = LANGUAGE === "zh-CN" ? ZH : EN;

/** The text of that name with its blanks filled in. */
export function text(name, values = {}) {
  return TEXTS[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "").trim();
}

/** Put the page's fixed texts into the language of its reader. */
export function translate(root) {
  document.documentElement.lang = LANGUAGE;
  document.title = `wsserver ${text("chat_tester")}`;
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
}
