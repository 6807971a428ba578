/** Texts of actions and of their previews. */

import { texts } from "./i18n.js";

export const TEXTS = {
  disconnect: ["Disconnect", "断开"],
  disconnect_user: ["Disconnect {user}", "断开 {user}"],
  disconnect_connection: ["Disconnect this connection", "断开此连接"],
  disconnect_preview: [
    "These connections are closed (code 4502):",
    "将关闭以下连接（代码 4502）：",
  ],
  disconnect_hint: [
    "Clients do not reconnect by themselves; the user may connect again.",
    "客户端不会自动重连；用户可以再次连接。",
  ],
  reason: ["Reason, which the client is told (optional)", "原因，会告知客户端（可选）"],
  disconnected: ["{n} closed", "已关闭 {n} 个连接"],
  nothing_open: ["There are no open connections.", "没有打开的连接。"],

  ping: ["Ping", "Ping"],
  ping_user: ["Ping {user}", "Ping {user}"],
  pinging: ["Waiting for answers, at most 5 s …", "等待响应，最多 5 秒……"],
  ping_offline: ["The user is offline.", "用户不在线。"],
  no_answer: ["no answer", "无响应"],
  connection: ["Connection", "连接"],
  round_trip: ["Round trip", "往返时间"],

  revoke: ["Revoke tokens", "吊销令牌"],
  revoke_user: ["Revoke all tokens of {user}", "吊销 {user} 的所有令牌"],
  revoke_preview: [
    "All tokens issued to {user} until now are refused from now on, on all nodes. This cannot be undone: the user needs a new token.",
    "此前签发给 {user} 的所有令牌将在所有节点上失效，且无法撤销：用户需要新的令牌。",
  ],
  revoke_closes: ["Connections that are closed (code 4505): {n}", "将关闭的连接（代码 4505）：{n}"],
  revoked: ["Revoked; connections closed: {n}", "已吊销；关闭的连接：{n}"],

  drain: ["Drain", "排空"],
  drain_node: ["Drain node {node}", "排空节点 {node}"],
  drain_preview: [
    "The node refuses new clients, asks its {n} connections to reconnect elsewhere, and ends as after SIGTERM.",
    "该节点将拒绝新客户端，要求其 {n} 个连接重连到其他节点，然后像收到 SIGTERM 一样结束。",
  ],
  draining: ["Node {node} drains", "节点 {node} 正在排空"],
  not_draining: ["Node {node} did not answer", "节点 {node} 没有响应"],

  edit_members: ["Edit members", "编辑成员"],
  members_of: ["Members of {session}", "{session} 的成员"],
  members_hint: [
    "User ids, separated by spaces or lines. Members may join without a session in their token; who is taken off leaves at once.",
    "用户 ID，以空格或换行分隔。成员无需令牌中的会话即可加入；被移除者立即离开。",
  ],
  members_change: ["Added: {added}. Removed: {removed}.", "新增：{added}。移除：{removed}。"],
  members_same: ["No change.", "没有变化。"],
  none: ["none", "无"],
  save: ["Save", "保存"],
  saved: ["Saved", "已保存"],
};

export const t = texts(TEXTS);
