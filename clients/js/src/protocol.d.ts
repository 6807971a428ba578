// Made by scripts/client-types from the server's own types. Do not edit.

/** A JSON object whose members are not the server's business. */
export type JsonObject = Record<string, any>;

/** A push that is kept: it has its place in a stream. */
export type Kept<P> = P & { stream: string; epoch: string; offset: number };

/** The reply to a command of a monitor. */
export interface Result<R> {
  type: "result";
  result: R;
}

/** A kept push, as in `messages` of `history`, `session_joined` and `resumed`. */
export type KeptPush = Kept<
  | NewMessagePush
  | MessageUpdatedPush
  | MessageDeletedPush
  | AnswerEndedPush
  | NotificationPush
  | CustomPush
>;

/** The first push of every connection. */
export interface ConnectionEstablished {
  type: "connection_established";
  /** RFC 3339, UTC */
  timestamp: string;
  connection_id: string;
  user_id: string;
  /** the connection is bound to it */
  session_id: string | null;
  /** seconds */
  heartbeat_interval: number;
  /** seconds */
  heartbeat_timeout: number;
  /** RFC 3339, UTC */
  server_time: string;
  inbox: InboxPosition;
  organization_id: string | null;
  organization: StreamPosition | null;
  protocol: "plain" | "wsserver.v1";
  max_message_bytes: number;
  /** of an event stream: what its commands are sent with */
  channel?: string;
}

/** Where the inbox is, and how many messages wait in it. */
export interface InboxPosition {
  epoch: string;
  offset: number;
  pending: number;
}

/** Where a stream is. */
export interface StreamPosition {
  epoch: string;
  offset: number;
}

/** The server's ping; the client answers it with `pong`. */
export interface Heartbeat {
  type: "ping";
  /** RFC 3339, UTC */
  timestamp: string;
  id: string;
}

/**
 * A user has joined a session.
 *
 * A connection that is bound to its session gets this for itself, too, with `epoch` and
 * what follows.
 */
export interface SessionJoinedPush {
  type: "session_joined";
  /** RFC 3339, UTC */
  timestamp: string;
  session_id: string;
  user_id: string;
  epoch?: string;
  offset?: number;
  recovered?: boolean;
  reason?: string;
  messages?: KeptPush[];
  users?: InSession[];
}

/** A user in a session. */
export interface InSession {
  user_id: string;
  username: string | null;
  connections: number;
  /** everything up to this offset is read; null: has no position */
  read_offset: number | null;
}

/** A user has left a session; about oneself: the server has put the connection out of it. */
export interface SessionLeftPush {
  type: "session_left";
  /** RFC 3339, UTC */
  timestamp: string;
  session_id: string;
  user_id: string;
}

/** A message in a session. */
export interface NewMessagePush {
  type: "new_message";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  session_id: string;
  message: ChatMessage | DeletedMessage;
}

/** A message in a session. */
export interface ChatMessage {
  id: string;
  session_id: string;
  sender: MessageSender;
  content: string | JsonObject;
  content_type: string;
  /** RFC 3339, UTC */
  created_at: string;
  client_message_id?: string;
  /** the message that this one answers */
  reply_to?: string;
  /** RFC 3339, UTC */
  edited_at?: string;
  edited_by?: string;
  /** of an answer; its text grows while it does */
  state?: "cancelled" | "completed" | "failed" | "growing" | "interrupted";
  /** of an answer: the latest append */
  seq?: number;
  /** of an answer */
  metadata?: JsonObject;
  deleted?: undefined;
}

/** The author of a message. */
export interface MessageSender {
  user_id: string;
  username: string | null;
  role: string | null;
}

/** What is left of a message that was deleted. */
export interface DeletedMessage {
  id: string;
  session_id: string;
  deleted: true;
  /** RFC 3339, UTC */
  created_at: string;
}

/** A message was edited; replayed after it was edited again, or deleted, it has that version. */
export interface MessageUpdatedPush {
  type: "message_updated";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  session_id: string;
  message: MessageVersion;
}

/** The newest version of a message: as in `new_message`, or what is left of a deleted one. */
export interface MessageVersion {
  id: string;
  session_id: string;
  /** RFC 3339, UTC */
  created_at: string;
  deleted?: true;
  /** absent if deleted, as all below */
  sender?: MessageSender;
  content?: string | JsonObject;
  content_type?: string;
  client_message_id?: string;
  reply_to?: string;
  /** RFC 3339, UTC */
  edited_at?: string;
  edited_by?: string;
  state?: "cancelled" | "completed" | "failed" | "growing" | "interrupted";
  seq?: number;
  metadata?: JsonObject;
}

/** A message was deleted. */
export interface MessageDeletedPush {
  type: "message_deleted";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  session_id: string;
  message_id: string;
  /** RFC 3339, UTC */
  deleted_at: string;
  deleted_by: string;
  message: DeletedMessage;
}

/** More text of an answer: it follows the first `at` code points. */
export interface AnswerAppendedPush {
  type: "answer_appended";
  /** RFC 3339, UTC */
  timestamp: string;
  session_id: string;
  message_id: string;
  /** the latest append in it */
  seq: number;
  /** code points before it */
  at: number;
  text: string;
}

/** An answer has ended; `message` is the final one. */
export interface AnswerEndedPush {
  type: "answer_ended";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  session_id: string;
  message_id: string;
  state: "cancelled" | "completed" | "failed" | "growing" | "interrupted";
  reason?: string;
  /** code points */
  length: number;
  message: MessageVersion;
}

/** A user types, or has stopped. */
export interface TypingPush {
  type: "typing";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  session_id: string;
  user_id: string;
  username: string | null;
  is_typing: boolean;
}

/** How far a message of this user has come. */
export interface MessageStatusPush {
  type: "message_status_update";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  message_id: string;
  session_id: string | null;
  status: "delivered" | "expired" | "failed" | "queued" | "read" | "sent";
  /** the recipient */
  user_id: string;
  reason?: string;
}

/** How far the AI's answer has come. */
export interface AiProcessingPush {
  type: "ai_processing_status";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  session_id: string;
  status: "completed" | "failed" | "processing" | "queued" | "streaming";
  /** 0 to 1 */
  progress?: number;
  detail?: string;
  message_id?: string;
  delta?: string;
}

/** A user's first connection came, or the last one went. */
export interface UserStatusPush {
  type: "user_status_update";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  user_id: string;
  status: "offline" | "online";
  connections: number;
}

/** State, holder or another field of a session has changed; a higher `term` is newer. */
export interface SessionUpdatedPush {
  type: "session_updated";
  /** RFC 3339, UTC */
  timestamp: string;
  session: SessionView;
  /** names of fields */
  changed: string[];
  /** user id */
  by: string;
}

/** The state of a session, as `GET /sessions/ID` has it. */
export interface SessionView {
  session_id: string;
  title: string | null;
  state: "closed" | "open" | "pending";
  holder: HolderView | null;
  term: number;
  organization_id: string | null;
  metadata: JsonObject;
  /** RFC 3339, UTC */
  created_at: string | null;
  /** RFC 3339, UTC */
  updated_at: string | null;
}

/** Who answers in a session. */
export interface HolderView {
  type: "ai" | "user";
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  id: string;
}

/** A user has read everything in a session up to an offset. */
export interface ReadPositionPush {
  type: "read_position";
  /** RFC 3339, UTC */
  timestamp: string;
  session_id: string;
  user_id: string;
  offset: number;
}

/** What is unread to the user has changed in a session. */
export interface UnreadChangedPush {
  type: "unread_changed";
  /** RFC 3339, UTC */
  timestamp: string;
  session_id: string;
  unread: number;
  /** in all sessions of the user */
  total: number;
}

/** The user's notifications have changed: something came, or was read or archived. */
export interface NotificationsChangedPush {
  type: "notifications_changed";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what was marked; empty: only the number may be another one */
  notification_ids: string[];
  read?: boolean;
  archived?: boolean;
  /** in the whole feed, without what is archived */
  unread: number;
}

/** A notification. */
export interface NotificationPush {
  type: "notification";
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  notification: NotificationContent;
}

/** A notification as users see it. */
export interface NotificationContent {
  /** `notify_…`; `ack` and `read` take it, too */
  id: string;
  title: string;
  message: string;
  type: "error" | "info" | "success" | "urgent" | "warning";
  action_url: string | null;
  auto_close: boolean;
  /** RFC 3339, UTC */
  timestamp: string;
}

/** Statistics, for monitors. */
export interface StatsPush {
  type: "stats_update";
  /** RFC 3339, UTC */
  timestamp: string;
  stats: Stats;
  busiest: Busiest;
}

/**
 * Current statistics of all nodes together, or of one; counters are since the start.
 *
 * Percentiles are those of the node where they are largest.
 */
export interface Stats {
  /** registered now */
  total_connections: number;
  /** heard from within the heartbeat timeout */
  active_connections: number;
  messages_sent: number;
  messages_received: number;
  disconnections: number;
  /** refused commands, failed sends and internal errors */
  errors: number;
  active_users: number;
  active_sessions: number;
  /** connections, summed over users */
  total_user_connections: number;
  /** connections, summed over sessions */
  total_session_connections: number;
  /** of the node that runs the longest */
  uptime_s: number;
  connects: number;
  refused_commands: number;
  failed_sends: number;
  internal_errors: number;
  handler_failures: number;
  queued_bytes: number;
  rates: Rates;
  deliver_ms: Percentiles;
  rtt_ms: Percentiles;
  /** `*`: all nodes together */
  node: string;
  answers: AnswerFigures;
  /** by channel, of the whole server */
  notifications: Record<string, ChannelFigures>;
  /** of the extension */
  files?: Record<string, number>;
  /** of the extension */
  responders?: Record<string, number>;
  /** nodes that did not answer in time; only if there are any */
  unreachable?: string[];
}

/** Rates per second, over the last ten seconds. */
export interface Rates {
  messages_sent_per_s: number;
  messages_received_per_s: number;
  connects_per_s: number;
}

/** Percentiles in milliseconds; null without values. */
export interface Percentiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

/** Answers that grow now, and since the start those begun and ended, by state. */
export interface AnswerFigures {
  growing: number;
  begun: number;
  appends: number;
  completed: number;
  failed: number;
  cancelled: number;
  interrupted: number;
}

/** Deliveries of notifications by one channel, since the start. */
export interface ChannelFigures {
  /** accepted by the provider, or stored in the inbox */
  sent: number;
  /** failed for good */
  failed: number;
  /** attempts that were followed by another one */
  retried: number;
  expired: number;
  acknowledged: number;
  /** from sending to acknowledgement */
  acknowledged_ms: Percentiles;
}

/** Users and sessions with the most messages from clients, the busiest first. */
export interface Busiest {
  users: BusyUser[];
  sessions: BusySession[];
}

/** A user, and how many messages a second they send. */
export interface BusyUser {
  user_id: string;
  username: string | null;
  messages_per_s: number;
}

/** A session, and how many messages a second are sent in it. */
export interface BusySession {
  session_id: string;
  messages_per_s: number;
}

/** An event, for monitors that subscribed to it. */
export interface EventPush {
  type: "event";
  /** RFC 3339, UTC */
  timestamp: string;
  event: ServerEvent;
}

/** An event of the server; its other fields depend on its name. */
export interface ServerEvent {
  name: string;
  /** RFC 3339, UTC */
  timestamp: string;
}

/** The token expires within a minute. */
export interface TokenExpiringPush {
  type: "token_expiring";
  /** RFC 3339, UTC */
  timestamp: string;
  /** RFC 3339, UTC */
  expires_at: string;
}

/** The server is about to restart. */
export interface ServerDrainingPush {
  type: "server_draining";
  /** RFC 3339, UTC */
  timestamp: string;
  reconnect_after_ms: number;
}

/**
 * A task is new or has changed; of two about one task, the higher `version` counts.
 *
 * That of the assignee is kept: it has an id and a place in a stream.
 */
export interface TaskUpdatePush {
  type: "task_update";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  redelivered?: boolean;
  task: TaskView;
  /** names of the changed fields */
  changed: string[];
  /** user id; null: the server */
  by: string | null;
}

/** A task. */
export interface TaskView {
  task_id: string;
  title: string;
  steps: StepView[];
  state: "cancelled" | "done" | "failed" | "pending" | "running" | "waiting";
  /** index of the current step, from 0 */
  step: number;
  /** from 0 to 1 */
  progress: number;
  /** grows by 1 with each change */
  version: number;
  assignee: AssigneeView | null;
  session_id: string | null;
  organization_id: string | null;
  /** RFC 3339, UTC */
  due_at: string | null;
  /** open past its time */
  overdue: boolean;
  metadata: JsonObject;
  /** RFC 3339, UTC */
  created_at: string;
  created_by: string;
  /** RFC 3339, UTC */
  updated_at: string;
}

/** A step of a task. */
export interface StepView {
  title: string;
}

/** Who has to do a task: a user, or everybody with a role. */
export interface AssigneeView {
  user?: string;
  role?: string;
}

/** A call begins: to all devices of the other users in the session. */
export interface CallIncomingPush {
  type: "call_incoming";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  call_id: string;
  session_id: string;
  state: "answered" | "declined" | "ended" | "missed" | "ringing";
  media: ("audio" | "video")[];
  caller: CallParty;
  callee: CallParty | null;
  /** RFC 3339, UTC */
  created_at: string;
  /** RFC 3339, UTC */
  rings_until: string;
  /** RFC 3339, UTC */
  answered_at: string | null;
  /** RFC 3339, UTC */
  ended_at: string | null;
  reason: string | null;
}

/** A device in a call. */
export interface CallParty {
  user_id: string;
  username: string | null;
  connection_id: string;
  /** false: away, may come back in `call_resume_s` */
  connected: boolean;
}

/**
 * The state of a call, or of a device in it, has changed.
 *
 * A device that rings stops at each state but `ringing`, unless it is `callee` itself.
 */
export interface CallStatePush {
  type: "call_state";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  call_id: string;
  session_id: string;
  state: "answered" | "declined" | "ended" | "missed" | "ringing";
  media: ("audio" | "video")[];
  caller: CallParty;
  callee: CallParty | null;
  /** RFC 3339, UTC */
  created_at: string;
  /** RFC 3339, UTC */
  rings_until: string;
  /** RFC 3339, UTC */
  answered_at: string | null;
  /** RFC 3339, UTC */
  ended_at: string | null;
  reason: string | null;
  /** user id; null: the server */
  by: string | null;
}

/** A description or a candidate of the other device in the call. */
export interface CallSignalPush {
  type: "call_signal";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  call_id: string;
  /** its connection id */
  from: string;
  /** whether the recipient gives way to the other's offer */
  polite: boolean;
  description?: JsonObject;
  candidate?: JsonObject | null;
}

/** What is used of a quota; at most once a second for one scope. */
export interface UsageUpdatePush {
  type: "usage_update";
  /** RFC 3339, UTC */
  timestamp: string;
  id?: string;
  scope: string;
  used: number;
  limit: number;
  remaining: number;
  unit: string;
  period: "day" | "month" | "total";
  /** RFC 3339, UTC */
  starts_at: string | null;
  /** RFC 3339, UTC */
  resets_at: string | null;
}

/** A push of another type, sent through the REST API. */
export interface CustomPush {
  type: string;
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  data?: unknown;
}

/** Answered by `pong` with the same `data`. */
export interface PingCommand {
  data?: unknown;
}

/** The answer to `ping`. */
export interface PongReply {
  type: "pong";
  /** RFC 3339, UTC */
  server_time: string;
  data?: unknown;
}

/** Receive what is sent to a session from now on. */
export interface JoinSessionCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  since?: Position;
  changes?: boolean;
}

/** Position in a stream; offsets start at 1, 0 is before the first message. */
export interface Position {
  epoch: string;
  offset: number;
}

/** The session was joined; with `since`, what was missed is in `messages`. */
export interface SessionJoined {
  type: "session_joined";
  session_id: string;
  user_id: string;
  epoch: string;
  offset: number;
  recovered: boolean;
  reason?: string;
  messages: KeptPush[];
  /** the first 1000 */
  users: InSession[];
}

/** Stop receiving what is sent to a session. */
export interface LeaveSessionCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
}

/** The session was left. */
export interface SessionLeft {
  type: "session_left";
  session_id: string;
  user_id: string;
}

/** Send a message to a session. */
export interface SendMessageCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  content: string | JsonObject;
  content_type?: string;
  client_message_id?: string;
  seen_offset?: number;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  reply_to?: string;
}

/** The message is stored. */
export interface MessageAck {
  type: "ack";
  message_id: string;
  stream: string;
  epoch: string;
  offset: number;
}

/** Replace the content of a message. */
export interface EditMessageCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
  content: string | JsonObject;
}

/** The message is changed; the position is that of the change. */
export interface ChangeAck {
  type: "ack";
  message_id: string;
  stream: string;
  epoch: string;
  offset: number;
}

/** Delete a message: its content is removed everywhere. */
export interface DeleteMessageCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
}

/** Find messages by their text, in all sessions that the user may enter or in one. */
export interface SearchCommand {
  /** 2-200 characters */
  query: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id?: string;
  limit?: number;
  before?: string;
}

/** Messages that were found, the newest first. */
export interface Found {
  type: "found";
  messages: FoundMessage[];
  /** `before` of the next page; a page may have few messages */
  next_cursor: string | null;
}

/** A message that was found, as in `history`. */
export interface FoundMessage {
  /** RFC 3339, UTC */
  timestamp: string;
  /** what `ack` and `read` take */
  id: string;
  stream?: string;
  epoch?: string;
  offset?: number;
  /** sent before, not acknowledged */
  redelivered?: boolean;
  type: string;
  session_id: string;
  message: MessageVersion;
  /** the text around what was found */
  snippet: string;
}

/** Notify the others in a session that this user types, or has stopped. */
export interface TypingCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  is_typing: boolean;
}

/** Done. */
export interface Ack {
  type: "ack";
}

/** Acknowledge messages: those with these ids, or all of a stream up to an offset. */
export interface AckCommand {
  ids?: string[];
  /** broadcast, session:ID, user:ID or organization:ID */
  stream?: string;
  offset?: number;
}

/** The receipts are stored. */
export interface ReceiptAck {
  type: "ack";
  /** for how many messages it was new */
  acknowledged: number;
}

/** Mark messages as read by the user. */
export interface ReadCommand {
  ids: string[];
}

/** List the users in a session. */
export interface PresenceCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
}

/** Who is in a session. */
export interface PresenceReply {
  type: "presence";
  session_id: string;
  /** the first 1000 */
  users: InSession[];
}

/** Read history: the last messages of a session, those before an offset or after one. */
export interface HistoryCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  before?: number;
  after?: number;
  limit?: number;
  changes?: boolean;
}

/** Kept messages of a session, ascending by offset. */
export interface HistoryReply {
  type: "history";
  session_id: string;
  messages: KeptPush[];
  epoch: string;
  has_more: boolean;
  /** of the user's own messages, by id */
  receipts: Record<string, OwnMessageReceipts>;
}

/** Who has received, and who has read, a message of the user. */
export interface OwnMessageReceipts {
  /** user ids, at most 100 */
  delivered: string[];
  /** user ids, at most 100 */
  read: string[];
}

/** Catch up with streams from the client's last positions; sessions are joined again. */
export interface ResumeCommand {
  streams: Record<string, Position>;
}

/** What was missed, by stream. */
export interface Resumed {
  type: "resumed";
  streams: Record<string, Recovered>;
}

/** What was missed of one stream, ascending by offset; `forbidden` has a reason alone. */
export interface Recovered {
  recovered: boolean;
  epoch?: string;
  offset?: number;
  messages?: KeptPush[];
  reason?: "epoch_changed" | "expired" | "forbidden" | "offset_ahead" | "too_far_behind";
}

/** Everything in a session up to an offset is read; the position never moves back. */
export interface MarkReadCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  offset: number;
}

/** List the caller's conversations, newest activity first. */
export interface ConversationsCommand {
  limit?: number;
  cursor?: string | null;
  state?: "closed" | "open" | "pending" | null;
}

/** The user's conversations, newest activity first. */
export interface ConversationsReply {
  type: "conversations";
  conversations: Conversation[];
  /** in all of them, whatever their state */
  unread_total: number;
  next_cursor: string | null;
}

/** A conversation of a user, with the first 1000 members. */
export interface Conversation {
  session_id: string;
  title: string | null;
  state: "closed" | "open" | "pending";
  /** who answers now; null: nobody */
  holder: HolderView | null;
  /** rises by 1 with each holder */
  term: number;
  /** null: that of members and writers */
  organization_id: string | null;
  metadata: JsonObject;
  /** null before the first message or member */
  created_at: string | null;
  /** RFC 3339, UTC */
  updated_at: string | null;
  /** null, too, without access to messages */
  last_message: JsonObject | null;
  offset: number;
  members: string[];
  /** user ids of those who have joined it now */
  active: string[];
  unread: number;
  read_offset: number;
}

/** List the caller's notifications, newest first. */
export interface NotificationsCommand {
  limit?: number;
  cursor?: string | null;
  archived?: boolean;
  unread?: boolean;
}

/** The user's notifications, newest first. */
export interface NotificationsReply {
  type: "notifications";
  user_id: string;
  notifications: FeedNotification[];
  /** in the whole feed, without what is archived */
  unread: number;
  /** of all pages */
  total: number;
  next_cursor: string | null;
}

/** A notification in a user's feed, in the user's language. */
export interface FeedNotification {
  id: string;
  title: string;
  message: string;
  type: "error" | "info" | "success" | "urgent" | "warning";
  action_url: string | null;
  auto_close: boolean;
  /** RFC 3339, UTC */
  timestamp: string;
  template: string | null;
  /** RFC 3339, UTC */
  read_at: string | null;
  /** RFC 3339, UTC */
  archived_at: string | null;
}

/** Mark the caller's notifications: those with these ids, or one and all older ones. */
export interface MarkNotificationsCommand {
  ids?: string[] | null;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  up_to?: string | null;
  read?: boolean | null;
  archived?: boolean | null;
}

/** The notifications are marked. */
export interface MarkedAck {
  type: "ack";
  /** how many were not so before */
  changed: number;
  /** in the whole feed, without what is archived */
  unread: number;
}

/** Change what the caller has chosen about notifications; without a change, read it. */
export interface NotificationPreferencesCommand {
  /** true: on; null: as for the others */
  channels?: Record<string, Record<string, boolean | null> | null> | null;
  quiet_hours?: QuietHours | null;
  daily_digest?: DailyDigest | null;
}

/** Hours in which e-mail, SMS and push wait; `end` before `start` is over midnight. */
export interface QuietHours {
  start: string;
  end: string;
  time_zone?: string;
}

/** Once a day what came by these channels since the day before, as one; not what is urgent. */
export interface DailyDigest {
  at: string;
  time_zone?: string;
  channels?: ("email" | "push" | "sms")[];
}

/** What the user has chosen about notifications. */
export interface NotificationPreferencesReply {
  type: "preferences";
  user_id: string;
  /** by template or *, whether a channel is on; others are on */
  channels: Record<string, Record<string, boolean>>;
  /** those in force */
  quiet_hours: QuietHours | null;
  quiet_hours_from: "contacts" | "preferences" | null;
  daily_digest: DailyDigest | null;
  /** the templates that there are */
  templates: string[];
}

/** Hold a session from now on, instead of the AI or user who holds it. */
export interface TakeCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  /** rises by 1 with each holder */
  expected_term?: number;
}

/** Who holds the session now. */
export interface HolderReply {
  type: "taken";
  session_id: string;
  term: number;
  holder: HolderView | null;
}

/** Hold a session no longer; `ai`: the AI that held it last holds it again. */
export interface ReleaseCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  to?: "ai" | null;
}

/** End an answer that is not wanted any more. */
export interface CancelAnswerCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
  /** at most 200 characters, on one line */
  reason?: string;
}

/** Replace the token of the connection by a newer one of the same user. */
export interface RefreshTokenCommand {
  token: string;
}

/** The newer token counts. */
export interface TokenRefreshed {
  type: "token_refreshed";
  /** RFC 3339, UTC */
  expires_at: string;
}

/** The events that a monitor gets, and the interval of statistics. */
export interface SubscribeRequest {
  events?: string[];
  interval_s?: number;
}

/** What the monitor gets from now on. */
export interface Subscribed {
  events: string[];
  interval_s: number;
}

/** A message for everyone, or for one organization or role. */
export interface BroadcastRequest {
  type: string;
  data?: unknown;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  user_id?: string;
  username?: string;
  is_typing?: boolean;
  content?: string | JsonObject;
  content_type?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  reply_to?: string;
  sender?: Sender;
  message_id?: string;
  status?: string;
  reason?: string;
  progress?: number;
  detail?: string;
  delta?: string;
  connections?: number;
  exclude_users?: string[];
  keep?: boolean;
  ttl_s?: number;
  /** rises by 1 with each holder */
  term?: number;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  organization_id?: string;
  role?: "admin" | "manager" | "service" | "user";
}

/** The sender of a message. */
export interface Sender {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  user_id: string;
  username?: string | null;
  role?: string | null;
}

/** Counts of connections matched, sent to and failed; position if the message is kept. */
export interface Published {
  message_id: string;
  matched: number;
  sent: number;
  failed: number;
  stream?: string | null;
  epoch?: string | null;
  offset?: number | null;
  /** nodes that did not answer in time and are not counted */
  unreachable?: string[] | null;
}

/** A message for a target. */
export interface PublishRequest {
  type: string;
  data?: unknown;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  user_id?: string;
  username?: string;
  is_typing?: boolean;
  content?: string | JsonObject;
  content_type?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  reply_to?: string;
  sender?: Sender;
  message_id?: string;
  status?: string;
  reason?: string;
  progress?: number;
  detail?: string;
  delta?: string;
  connections?: number;
  exclude_users?: string[];
  keep?: boolean;
  ttl_s?: number;
  /** rises by 1 with each holder */
  term?: number;
  target: TargetRequest;
}

/** The target of a message; `id` is required for all but a broadcast. */
export interface TargetRequest {
  type: "broadcast" | "user" | "session" | "organization" | "role" | "connection";
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  id?: string;
}

/** `AnswerRequest` with its session, for the monitor's socket, where there is no path. */
export interface AnswerStartArgs {
  sender?: Sender;
  content?: string;
  content_type?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  reply_to?: string;
  /** rises by 1 with each holder */
  term?: number;
  metadata?: JsonObject;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
}

/** An answer that has begun: its message, position and term. */
export interface AnswerStarted {
  message_id: string;
  stream: string;
  epoch: string;
  offset: number;
  seq: number;
  /** of the session; a new holder ends the answer */
  term: number;
}

/** `AnswerAppendRequest` with its answer. */
export interface AnswerAppendArgs {
  /** 1, 2, …: each append has the next number */
  seq: number;
  text: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
}

/** The latest append, and the length of the text. */
export interface AnswerAppended {
  seq: number;
  /** code points */
  length: number;
}

/** `AnswerFinishRequest` with its answer. */
export interface AnswerFinishArgs {
  state?: "completed" | "failed";
  content?: string;
  /** at most 200 characters, on one line */
  reason?: string;
  usage?: JsonObject;
  seq?: number;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
}

/** The end of an answer; `offset` of the closing record, null if its message was deleted. */
export interface AnswerEnded {
  state: "cancelled" | "completed" | "failed" | "growing" | "interrupted";
  /** code points */
  length: number | null;
  offset: number | null;
}

/** `AnswerCancelRequest` with its answer. */
export interface AnswerCancelArgs {
  /** at most 200 characters, on one line */
  reason?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  message_id: string;
}

/** Close a user's connections, or one of them. */
export interface DisconnectRequest {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  user_id: string;
  reason?: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  connection_id?: string;
}

/** How many connections were closed. */
export interface Disconnected {
  disconnected: number;
  /** nodes that did not answer in time; only if there are any */
  unreachable?: string[];
}

/** `PingRequest` with the user, for the monitor's socket, where there is no path. */
export interface PingUserRequest {
  timeout_s?: number;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop */
  user_id: string;
}

/** Round-trip times of a user's connections. */
export interface PingResult {
  user_id: string;
  online: boolean;
  connections: Pinged[];
  /** nodes that did not answer in time; only if there are any */
  unreachable?: string[];
}

/** Round-trip time of one connection; null without an answer in time. */
export interface Pinged {
  connection_id: string;
  alive: boolean;
  rtt_ms: number | null;
}

/** Change a task as its assignee; without a change, read it. */
export interface UpdateTaskCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  task_id: string;
  state?: "cancelled" | "done" | "failed" | "pending" | "running" | "waiting";
  /** from 0 */
  step?: number;
  progress?: number;
  note?: string;
  expected_version?: number;
}

/** The task after the change. */
export interface TaskReply {
  type: "task";
  task: TaskView;
}

/** Ring the other users of a session. */
export interface StartCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  session_id: string;
  media: ("audio" | "video")[];
}

/** The call rings, on so many `devices` as are connected now. */
export interface Calling {
  type: "calling";
  ice_servers: IceServer[];
  /** RFC 3339, UTC */
  expires_at: string;
  call_id: string;
  call: CallView;
  devices: number;
}

/** An element of `iceServers` of `RTCPeerConnection`. */
export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** A call as it is. */
export interface CallView {
  call_id: string;
  session_id: string;
  state: "answered" | "declined" | "ended" | "missed" | "ringing";
  media: ("audio" | "video")[];
  caller: CallParty;
  callee: CallParty | null;
  /** RFC 3339, UTC */
  created_at: string;
  /** RFC 3339, UTC */
  rings_until: string;
  /** RFC 3339, UTC */
  answered_at: string | null;
  /** RFC 3339, UTC */
  ended_at: string | null;
  reason: string | null;
}

/** Answer a call on this device. */
export interface AnswerCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
}

/** The call is answered, or entered again, on this device. */
export interface CallEntered {
  type: "ack";
  ice_servers: IceServer[];
  /** RFC 3339, UTC */
  expires_at: string;
  call: CallView;
}

/** Decline a call, on all devices of the user. */
export interface DeclineCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
  reason?: string;
}

/** Stop ringing, as the caller. */
export interface CancelCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
  reason?: string;
}

/** Hang up. */
export interface EndCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
  reason?: string;
}

/** Go on with a call on this connection, after a reconnect or on another device. */
export interface ResumeCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
}

/** Send a description or a candidate to the other device in a call. */
export interface SignalCallCommand {
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  call_id: string;
  /** 1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop */
  to?: string;
  description?: Description;
  candidate?: JsonObject | null;
}

/** An `RTCSessionDescription`. */
export interface Description {
  type: "answer" | "offer" | "pranswer" | "rollback";
  sdp?: string;
}

/** STUN and TURN servers, with fresh credentials. */
export interface GetIceServersCommand {

}

/** STUN and TURN servers, with fresh credentials. */
export interface IceServersReply {
  type: "ice_servers";
  ice_servers: IceServer[];
  /** RFC 3339, UTC */
  expires_at: string;
}

/** Every push that the server names, by its type. */
export interface Pushes {
  connection_established: ConnectionEstablished;
  ping: Heartbeat;
  session_joined: SessionJoinedPush;
  session_left: SessionLeftPush;
  new_message: NewMessagePush;
  message_updated: MessageUpdatedPush;
  message_deleted: MessageDeletedPush;
  answer_appended: AnswerAppendedPush;
  answer_ended: AnswerEndedPush;
  typing: TypingPush;
  message_status_update: MessageStatusPush;
  ai_processing_status: AiProcessingPush;
  user_status_update: UserStatusPush;
  session_updated: SessionUpdatedPush;
  read_position: ReadPositionPush;
  unread_changed: UnreadChangedPush;
  notifications_changed: NotificationsChangedPush;
  notification: NotificationPush;
  stats_update: StatsPush;
  event: EventPush;
  token_expiring: TokenExpiringPush;
  server_draining: ServerDrainingPush;
  task_update: TaskUpdatePush;
  call_incoming: CallIncomingPush;
  call_state: CallStatePush;
  call_signal: CallSignalPush;
  usage_update: UsageUpdatePush;
}

/** Every command of the server, by its type: its fields and its reply. */
export interface Commands {
  /** Answered by `pong` with the same `data`. */
  ping: { fields: PingCommand; reply: PongReply };
  /** Receive what is sent to a session from now on. */
  join_session: { fields: JoinSessionCommand; reply: SessionJoined };
  /** Stop receiving what is sent to a session. */
  leave_session: { fields: LeaveSessionCommand; reply: SessionLeft };
  /** Send a message to a session. */
  send_message: { fields: SendMessageCommand; reply: MessageAck };
  /** Replace the content of a message. */
  edit_message: { fields: EditMessageCommand; reply: ChangeAck };
  /** Delete a message: its content is removed everywhere. */
  delete_message: { fields: DeleteMessageCommand; reply: ChangeAck };
  /** Find messages by their text, in all sessions that the user may enter or in one. */
  search: { fields: SearchCommand; reply: Found };
  /** Notify the others in a session that this user types, or has stopped. */
  typing: { fields: TypingCommand; reply: Ack };
  /** Acknowledge messages: those with these ids, or all of a stream up to an offset. */
  ack: { fields: AckCommand; reply: ReceiptAck };
  /** Mark messages as read by the user. */
  read: { fields: ReadCommand; reply: ReceiptAck };
  /** List the users in a session. */
  presence: { fields: PresenceCommand; reply: PresenceReply };
  /** Read history: the last messages of a session, those before an offset or after one. */
  history: { fields: HistoryCommand; reply: HistoryReply };
  /** Catch up with streams from the client's last positions; sessions are joined again. */
  resume: { fields: ResumeCommand; reply: Resumed };
  /** Everything in a session up to an offset is read; the position never moves back. */
  mark_read: { fields: MarkReadCommand; reply: Ack };
  /** List the caller's conversations, newest activity first. */
  conversations: { fields: ConversationsCommand; reply: ConversationsReply };
  /** List the caller's notifications, newest first. */
  notifications: { fields: NotificationsCommand; reply: NotificationsReply };
  /** Mark the caller's notifications: those with these ids, or one and all older ones. */
  mark_notifications: { fields: MarkNotificationsCommand; reply: MarkedAck };
  /** Change what the caller has chosen about notifications; without a change, read it. */
  preferences: { fields: NotificationPreferencesCommand; reply: NotificationPreferencesReply };
  /** Hold a session from now on, instead of the AI or user who holds it. */
  take: { fields: TakeCommand; reply: HolderReply };
  /** Hold a session no longer; `ai`: the AI that held it last holds it again. */
  release: { fields: ReleaseCommand; reply: HolderReply };
  /** End an answer that is not wanted any more. */
  cancel_answer: { fields: CancelAnswerCommand; reply: Ack };
  /** Replace the token of the connection by a newer one of the same user. */
  refresh_token: { fields: RefreshTokenCommand; reply: TokenRefreshed };
  /** The statistics, as `GET /stats`. */
  get_stats: { fields: { args?: {} }; reply: Result<Stats> };
  /** Choose which events and how frequent statistics this monitor gets. */
  subscribe: { fields: { args: SubscribeRequest }; reply: Result<Subscribed> };
  /** As `POST /broadcast`. */
  broadcast: { fields: { args: BroadcastRequest }; reply: Result<Published> };
  /** As `POST /messages`. */
  publish: { fields: { args: PublishRequest }; reply: Result<Published> };
  /** As `POST /sessions/{session_id}/answers`, with `session_id` in `args`. */
  answer_start: { fields: { args: AnswerStartArgs }; reply: Result<AnswerStarted> };
  /** As `POST /answers/{message_id}/append`, with `message_id` in `args`. */
  answer_append: { fields: { args: AnswerAppendArgs }; reply: Result<AnswerAppended> };
  /** As `POST /answers/{message_id}/finish`, with `message_id` in `args`. */
  answer_finish: { fields: { args: AnswerFinishArgs }; reply: Result<AnswerEnded> };
  /** As `POST /answers/{message_id}/cancel`, with `message_id` in `args`. */
  answer_cancel: { fields: { args: AnswerCancelArgs }; reply: Result<AnswerEnded> };
  /** As `POST /users/disconnect`. */
  disconnect_user: { fields: { args: DisconnectRequest }; reply: Result<Disconnected> };
  /** As `POST /ping/{user_id}`, with `user_id` in `args`. */
  ping_user: { fields: { args: PingUserRequest }; reply: Result<PingResult> };
  /** Change a task as its assignee; without a change, read it. */
  task: { fields: UpdateTaskCommand; reply: TaskReply };
  /** Ring the other users of a session. */
  call: { fields: StartCallCommand; reply: Calling };
  /** Answer a call on this device. */
  call_answer: { fields: AnswerCallCommand; reply: CallEntered };
  /** Decline a call, on all devices of the user. */
  call_decline: { fields: DeclineCallCommand; reply: Ack };
  /** Stop ringing, as the caller. */
  call_cancel: { fields: CancelCallCommand; reply: Ack };
  /** Hang up. */
  call_end: { fields: EndCallCommand; reply: Ack };
  /** Go on with a call on this connection, after a reconnect or on another device. */
  call_resume: { fields: ResumeCallCommand; reply: CallEntered };
  /** Send a description or a candidate to the other device in a call. */
  call_signal: { fields: SignalCallCommand; reply: Ack };
  /** STUN and TURN servers, with fresh credentials. */
  ice_servers: { fields: GetIceServersCommand; reply: IceServersReply };
}

/** The codes of the server's errors. */
export type ServerErrorCode =
  | "auth_ambiguous"
  | "bad_request"
  | "bad_json"
  | "bad_unicode"
  | "too_deep"
  | "unknown_type"
  | "unknown_field"
  | "not_joined"
  | "session_bound"
  | "token_missing"
  | "token_invalid"
  | "token_expired"
  | "token_revoked"
  | "forbidden"
  | "rejected"
  | "edit_window_over"
  | "origin_forbidden"
  | "host_forbidden"
  | "not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "idempotency_conflict"
  | "idempotency_pending"
  | "term_changed"
  | "organization_set"
  | "stale_view"
  | "no_responder"
  | "out_of_order"
  | "answer_ended"
  | "answer_too_long"
  | "body_too_large"
  | "unsupported_media_type"
  | "validation_failed"
  | "url_forbidden"
  | "upgrade_required"
  | "idempotency_limit"
  | "rate_limited"
  | "connection_limit"
  | "session_limit"
  | "chaos_disabled"
  | "recording_limit"
  | "internal_error"
  | "server_full"
  | "starting"
  | "draining"
  | "node_unreachable"
  | "keys_unavailable"
  | "hook_failed"
  | "storage_unavailable"
  | "storage_full"
  | "version_changed"
  | "bad_transition"
  | "call_busy"
  | "bad_call_state"
  | "nobody_to_call"
  | "too_many_to_call"
  | "signal_too_large"
  | "quota_exhausted"
  | "file_too_large"
  | "file_quota_exhausted"
  | "file_upload_limit"
  | "file_uploads_busy"
  | "file_locked"
  | "offset_mismatch"
  | "checksum_mismatch"
  | "tus_version_unsupported"
  | "range_not_satisfiable";

/** Those where trying again can help. */
export type TemporaryErrorCode =
  | "request_timeout"
  | "idempotency_pending"
  | "stale_view"
  | "idempotency_limit"
  | "rate_limited"
  | "recording_limit"
  | "internal_error"
  | "server_full"
  | "starting"
  | "draining"
  | "node_unreachable"
  | "keys_unavailable"
  | "hook_failed"
  | "storage_unavailable"
  | "storage_full"
  | "file_upload_limit"
  | "file_uploads_busy"
  | "file_locked"
  | "offset_mismatch"
  | "checksum_mismatch";

/** The close codes of the server. */
export type CloseCode =
  | 1000
  | 1001
  | 1002
  | 1003
  | 1007
  | 1008
  | 1009
  | 1011
  | 1012
  | 1013
  | 4001
  | 4002
  | 4003
  | 4010
  | 4029
  | 4500
  | 4501
  | 4502
  | 4503
  | 4504
  | 4505;
