/** Texts of the trace. */

import { texts } from "../parts/i18n.js";

export const TEXTS = {
  trace: ["Trace", "追踪"],
  message_id: ["Message id (msg_…)", "消息 ID（msg_…）"],
  show: ["Trace", "追踪"],
  hint: [
    "Where a message went: who got it, when, and who did not and why. Its id is in the answer to each publish, in acknowledgements, and beside each message of a session.",
    "消息的去向：谁在何时收到，谁没有收到以及原因。消息 ID 在每次发布的响应、确认以及会话的每条消息旁。",
  ],
  not_known: [
    "No trace of {id}: no message has this id, or its trace is too old (trace_retention_s).",
    "没有 {id} 的追踪：没有这个 ID 的消息，或追踪已过期（trace_retention_s）。",
  ],
  class: ["Class", "类别"],
  class_live: ["live", "实时"],
  class_kept: ["kept", "保留"],
  target: ["To", "目标"],
  accepted_at: ["Accepted", "受理时间"],
  accepted_from: ["From", "来自"],
  via: ["by {via}", "经由 {via}"],
  server: ["the server", "服务器"],
  position: ["Position", "位置"],
  only_user: ["Only this user", "仅此用户"],
  recipients: ["Recipients", "接收者"],
  no_recipients: ["Nobody was to get it.", "没有接收者。"],
  user: ["User", "用户"],
  connection: ["Connection", "连接"],
  node: ["Node", "节点"],
  state: ["State", "状态"],
  story: ["What happened", "经过"],
  reason: ["Reason", "原因"],
  truncated: ["Not all recipients are listed: name a user.", "未列出全部接收者，请指定用户。"],
  state_pending: ["pending", "待送"],
  state_sent: ["sent", "已发送"],
  state_delivered: ["delivered", "已送达"],
  state_read: ["read", "已读"],
  state_dropped: ["dropped", "已丢弃"],
  state_expired: ["expired", "已过期"],
  total: ["in all", "总计"],
};

export const t = texts(TEXTS);
