/** What the components say, in English and Chinese. */

const count =
  (one, other) =>
  ({ n }) =>
    n === 1 ? one : other.replace("{n}", n);

export const TEXTS = {
  today: ["Today", "今天"],
  yesterday: ["Yesterday", "昨天"],
  you: ["You", "我"],

  messages: ["Messages", "消息"],
  noMessages: ["No messages yet", "还没有消息"],
  loading: ["Loading…", "加载中…"],
  newMessages: [count("1 new message", "{n} new messages"), "{n} 条新消息"],
  newFromHere: ["New", "以下为新消息"],
  toTheEnd: ["To the latest message", "回到最新消息"],
  showAll: ["Show all", "展开全文"],
  showLess: ["Show less", "收起"],
  sending: ["Sending", "发送中"],
  sent: ["Sent", "已发送"],
  delivered: ["Delivered", "已送达"],
  read: ["Read", "已读"],
  failed: ["Not sent", "发送失败"],
  retry: ["Try again", "重试"],
  stale: ["Not sent: there are newer messages", "未发送：有新消息"],
  sendAnyway: ["Send anyway", "仍然发送"],
  discard: ["Remove", "移除"],
  deleted: ["Message deleted", "消息已删除"],
  edited: ["edited", "已编辑"],
  stop: ["Stop", "停止"],
  answerCancelled: ["Stopped", "已停止"],
  answerFailed: ["Failed", "失败"],
  answerInterrupted: ["Interrupted", "已中断"],
  inReplyTo: ["In reply to", "回复"],
  reply: ["Reply", "回复"],
  edit: ["Edit", "编辑"],
  delete: ["Delete", "删除"],
  deleteSure: ["Really delete?", "确定删除？"],

  message: ["Message", "消息"],
  writeMessage: ["Write a message…", "输入消息…"],
  send: ["Send", "发送"],
  tooLong: [count("Too long by 1 byte", "Too long by {n} bytes"), "超出 {n} 字节"],
  replyTo: ["Reply to {name}", "回复 {name}"],
  editing: ["Edit message", "编辑消息"],

  typingOne: ["{name} is typing…", "{name}正在输入…"],
  typingMany: ["{names} are typing…", "{names}正在输入…"],
  typingSeveral: ["Several people are typing…", "多人正在输入…"],

  connected: ["Connected", "已连接"],
  connecting: ["Connecting…", "正在连接…"],
  waiting: ["No connection. Trying again…", "连接已断开，正在重试…"],
  waitingFor: [({ n }) => `No connection. Next attempt in ${n} s`, "连接已断开，{n} 秒后重试"],
  elsewhere: ["Connected in another window", "已在其他窗口连接"],
  closed: ["Disconnected", "已断开"],
  connect: ["Connect", "连接"],

  conversations: ["Conversations", "会话"],
  noConversations: ["No conversations yet", "还没有会话"],
  more: ["Show more", "显示更多"],
  statePending: ["Waiting", "待处理"],
  stateClosed: ["Closed", "已关闭"],

  notifications: ["Notifications", "通知"],
  unread: [count("1 unread", "{n} unread"), "{n} 条未读"],
  close: ["Close", "关闭"],
};
