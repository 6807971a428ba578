/** Texts of accounts of messengers. */

import { texts } from "/static/console/parts/i18n.js";

export const TEXTS = {
  accounts: ["Accounts", "账号"],
  account: ["Account", "账号"],
  hint: [
    "Messengers through which contacts write in sessions, and what waits to be sent to them.",
    "联系人通过这些消息平台进入会话；以及等待发送给他们的消息。",
  ],
  none: ["No accounts are configured.", "没有配置账号。"],
  kind: ["Kind", "类型"],
  status: ["Status", "状态"],
  status_online: ["online", "在线"],
  status_offline: ["offline", "离线"],
  status_reconnecting: ["reconnecting", "重连中"],
  status_login_failed: ["login failed", "登录失败"],
  status_unknown: ["not reported yet", "尚未上报"],
  organization: ["Organization", "组织"],
  pending: ["Waiting", "待发送"],
  sent: ["Sent in 30 days", "30 天内已发送"],
  failed: ["Given up", "已放弃"],
  last_sent: ["Latest sent message", "最近已发送的消息"],
  members: ["Members of new sessions", "新会话的成员"],
  holder: ["New sessions held by", "新会话的处理者"],
  rate: ["At most", "上限"],
  per_minute: ["{n} messages a minute", "每分钟 {n} 条"],
  unsent: ["Not sent", "未发送"],
  all_sent: ["Everything was sent.", "全部已发送。"],
  contact: ["Contact", "联系人"],
  session: ["Session", "会话"],
  message: ["Message", "消息"],
  from: ["From", "发送者"],
  written: ["Written", "时间"],
  state: ["State", "状态"],
  state_pending: ["waiting", "待发送"],
  state_failed: ["given up", "已放弃"],
  attempts: ["Attempts", "尝试次数"],
  next: ["Next attempt", "下次尝试"],
  error: ["Last error", "最近错误"],
  retry: ["Send again", "重新发送"],
  retry_title: ["Send again what was given up?", "重新发送已放弃的消息？"],
  retry_preview: [
    "{n} messages of {account} are tried again. Contacts may get old messages.",
    "将重新尝试 {account} 的 {n} 条消息。联系人可能会收到旧消息。",
  ],
  retried: ["{n} messages wait again", "{n} 条消息重新等待发送"],
};

export const t = texts(TEXTS);
