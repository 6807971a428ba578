/** What the components say, in English and Chinese. */

const count =
  (one, other) =>
  ({ n }) =>
    n === 1 ? one : other.replace("{n}", n);

export const en = {
  today: "Today",
  yesterday: "Yesterday",
  you: "You",

  messages: "Messages",
  noMessages: "No messages yet",
  loading: "Loading…",
  newMessages: count("1 new message", "{n} new messages"),
  toTheEnd: "To the latest message",
  showAll: "Show all",
  showLess: "Show less",
  sending: "Sending",
  sent: "Sent",
  delivered: "Delivered",
  read: "Read",
  failed: "Not sent",
  retry: "Try again",
  discard: "Remove",
  deleted: "Message deleted",
  edited: "edited",
  inReplyTo: "In reply to",
  reply: "Reply",
  edit: "Edit",
  delete: "Delete",
  deleteSure: "Really delete?",

  message: "Message",
  writeMessage: "Write a message…",
  send: "Send",
  tooLong: "Too long by {n} bytes",
  replyTo: "Reply to {name}",
  editing: "Edit message",

  typingOne: "{name} is typing…",
  typingMany: "{names} are typing…",
  typingSeveral: "Several people are typing…",

  connected: "Connected",
  connecting: "Connecting…",
  waiting: "No connection. Trying again…",
  waitingFor: ({ n }) => `No connection. Next attempt in ${n} s`,
  elsewhere: "Connected in another window",
  closed: "Disconnected",
  connect: "Connect",

  notifications: "Notifications",
  noNotifications: "No notifications",
  unread: count("1 unread", "{n} unread"),
  markRead: "Mark as read",
  markAllRead: "Mark all as read",
  close: "Close",
};

export const zhCN = {
  today: "今天",
  yesterday: "昨天",
  you: "我",

  messages: "消息",
  noMessages: "还没有消息",
  loading: "加载中…",
  newMessages: "{n} 条新消息",
  toTheEnd: "回到最新消息",
  showAll: "展开全文",
  showLess: "收起",
  sending: "发送中",
  sent: "已发送",
  delivered: "已送达",
  read: "已读",
  failed: "发送失败",
  retry: "重试",
  discard: "移除",
  deleted: "消息已删除",
  edited: "已编辑",
  inReplyTo: "回复",
  reply: "回复",
  edit: "编辑",
  delete: "删除",
  deleteSure: "确定删除？",

  message: "消息",
  writeMessage: "输入消息…",
  send: "发送",
  tooLong: "超出 {n} 字节",
  replyTo: "回复 {name}",
  editing: "编辑消息",

  typingOne: "{name}正在输入…",
  typingMany: "{names}正在输入…",
  typingSeveral: "多人正在输入…",

  connected: "已连接",
  connecting: "正在连接…",
  waiting: "连接已断开，正在重试…",
  waitingFor: "连接已断开，{n} 秒后重试",
  elsewhere: "已在其他窗口连接",
  closed: "已断开",
  connect: "连接",

  notifications: "通知",
  noNotifications: "暂无通知",
  unread: "{n} 条未读",
  markRead: "标为已读",
  markAllRead: "全部标为已读",
  close: "关闭",
};
