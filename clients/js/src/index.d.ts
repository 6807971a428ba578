/** Client of wsserver. */

import type {
  Ack,
  ChangeAck,
  ChatMessage,
  Commands,
  ConnectionEstablished,
  ConversationsReply,
  CustomPush,
  Found,
  HistoryReply,
  HolderReply,
  MarkedAck,
  MessageAck,
  MessageVersion,
  NotificationsReply,
  PresenceReply,
  Pushes,
  ServerErrorCode,
  SessionJoined,
  SessionLeft,
  SessionView,
  StreamPosition,
} from "./protocol.js";

export type * from "./protocol.js";

/** The reason of the end when a provider has given null. */
export const NO_CREDENTIAL: "no credential";

/** Do the rules of the close codes allow coming back after this one? */
export function mayReconnect(code: number): boolean;

/** Is this push of this type? Narrows what `ws:push`, `history` and `join` give. */
export function isPush<T extends keyof Pushes>(push: { type: string }, type: T): push is Pushes[T];

/** `idle` before `connect`; `waiting` to reconnect; `closed` for good. */
export type State = "idle" | "connecting" | "open" | "waiting" | "closed";

/** The codes of errors that the client makes itself. */
export type ClientErrorCode =
  | "disconnected"
  | "timeout"
  | "message_too_big"
  | "bad_content"
  | "bad_push"
  | "outbox_full"
  | "user_changed"
  | "no_credential"
  | "cancelled"
  | "no_websocket"
  | "bad_url"
  | `closed_${number}`
  | `http_${number}`;

/** Codes that this version names, and those of a newer server. */
export type ErrorCode = ServerErrorCode | ClientErrorCode | (string & {});

/** An `error` reply, or a command that got no reply or was never sent. */
export class WsError extends Error {
  constructor(error: {
    code: ErrorCode;
    message: string;
    temporary?: boolean;
    [detail: string]: unknown;
  });
  name: "WsError";
  code: ErrorCode;
  /** Can trying again help? */
  temporary: boolean;
  /** More members of the error. */
  details: {
    /** The culprit. */
    field?: string;
    /** All faults of a command. */
    errors?: { field: string; message: string }[];
    /** When to try again. */
    retry_after_ms?: number;
    /** Of `message_too_big`: the most bytes that the server takes. */
    limit?: number;
    [detail: string]: unknown;
  };
}

/** What a provider gives: a token or ticket; null when there is none any more, as after signing out. */
export type Provider = () => string | null | Promise<string | null>;

/** What the client needs of `WebSocket`; the browser's, and the package `ws`, have it. */
export interface WebSocketLike {
  readonly readyState: number;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** A class of WebSockets. */
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

export interface WsClientOptions {
  /** The server, as http(s) or ws(s); default: where the page is from. */
  url?: string;
  /** Default `/ws/chat`. */
  endpoint?: string;
  /** Connect to this one session, bound to it. */
  sessionId?: string;
  /** A token that does not change. */
  token?: string | null;
  /** Asked at every connect, and when the token in use is about to expire. */
  tokenProvider?: Provider;
  /** The same with one-use tickets, for pages that must not see a token. */
  ticketProvider?: Provider;
  /**
   * Share one connection with the other tabs of the same user: true (default) where the browser has
   * Web Locks; false: a connection of its own. With `ticketProvider`, which does not show who the
   * user is, a text that names them, as `shareTabs: userId`.
   */
  shareTabs?: boolean | string;
  /**
   * Receive Server-Sent Events where no WebSocket gets through: from the third attempt on, while none has
   * ever opened. A WebSocket is tried again later. Default: true.
   */
  fallback?: boolean;
  /** The shortest limit of the time between reconnects: 500. */
  minDelayMs?: number;
  /** The longest: 30,000. */
  maxDelayMs?: number;
  /** How long to wait for a reply: 10,000. */
  commandTimeoutMs?: number;
  /** How long to wait for a provider, and then for a connection: 15,000. */
  connectTimeoutMs?: number;
  /** How long receipts wait for others: 250. */
  receiptDelayMs?: number;
  /** What is acknowledged once its handlers have run: default `all`. */
  acknowledge?: "all" | "inbox" | "none";
  /** Such as `sessionStorage`: keeps the positions across page loads. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** For runtimes without one, as Node before 22. */
  WebSocket?: WebSocketClass;
}

/** An event of the flight recorder: only the fields that it has. */
export interface RecordedEvent {
  /** RFC 3339, UTC, by the client's clock */
  at: string;
  /** `client`: of the client itself, such as `close` */
  dir: "in" | "out" | "client";
  type: string;
  /** The connection's id, while there was one. */
  connection?: string;
  [field: string]: unknown;
}

/** What `report` gives, for support: no contents, names or credentials. */
export interface Report {
  kind: "wsserver-client-report";
  version: string;
  made_at: string;
  /** The browser, as it calls itself. */
  runtime: string | null;
  url: string;
  endpoint: string;
  state: State;
  user_id: string | null;
  connection_id: string | null;
  unsent: number;
  sessions: string[];
  positions: Record<string, StreamPosition>;
  /** The last connections, and how far the server's clock is ahead of the client's. */
  connections: {
    connection_id: string;
    opened_at: string;
    clock: { offset_ms: number; error_ms: number | null } | null;
  }[];
  /** The last 200, oldest first. */
  events: RecordedEvent[];
}

/** `detail` of the client's own events. */
export interface ClientEvents {
  "ws:state": { state: State };
  "ws:open": ConnectionEstablished;
  "ws:close": {
    code: number;
    reason: string;
    willReconnect: boolean;
    /** Until the next try; null: none, or not before something changes. */
    delayMs: number | null;
  };
  "ws:push": Pushes[keyof Pushes] | CustomPush;
  "ws:rejoined": {
    session_id: string;
    recovered: boolean;
    epoch: string;
    offset: number;
    missed: number;
  };
  "ws:lost": { session_id: string; error: WsError };
  "ws:gap": { stream: string; session_id: string | null; reason: string };
  "ws:answer": { answer: Answer };
  "ws:error": { error: Error };
}

/** How far an answer has come. */
export type AnswerState = NonNullable<ChatMessage["state"]>;

/** A message whose text grows, or has grown. */
export class Answer extends EventTarget {
  /** Of its message. */
  readonly id: string;
  readonly sessionId: string;
  readonly offset: number;
  /** As it came first; after the end the final one. */
  readonly message: ChatMessage | MessageVersion;
  readonly text: string;
  readonly state: AnswerState;
  readonly isGrowing: boolean;
  /** Why it has ended, if something was said. */
  readonly reason: string | null;

  /** `text`: after each change, what was added after the first `at` code points. `end`: it has ended. */
  addEventListener<T extends AnswerEventName>(
    type: T,
    listener: AnswerListener<T> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<T extends AnswerEventName>(
    type: T,
    listener: AnswerListener<T> | null,
    options?: EventListenerOptions | boolean,
  ): void;
}

/** `detail` of the events of an answer. */
export interface AnswerEvents {
  text: { at: number; text: string };
  end: null;
}

/** Names that complete in an editor; there are no others. */
export type AnswerEventName = keyof AnswerEvents | (string & {});

/** A handler of an event of an answer. */
export type AnswerListener<T extends string> =
  | ((event: CustomEvent<T extends keyof AnswerEvents ? AnswerEvents[T] : null>) => void)
  | { handleEvent(event: CustomEvent<T extends keyof AnswerEvents ? AnswerEvents[T] : null>): void };

/** `detail` of every event: pushes by their type, and the client's own. */
export interface EventDetails extends Pushes, ClientEvents {}

/** `detail` of an event by its name; a name of your own is a push with `data`. */
export type DetailOf<T extends string> = T extends keyof EventDetails ? EventDetails[T] : CustomPush;

/** A handler of an event. */
export type Listener<T extends string> =
  | ((event: CustomEvent<DetailOf<T>>) => void)
  | { handleEvent(event: CustomEvent<DetailOf<T>>): void };

/** Names that complete in an editor, and any other. */
export type EventName = keyof EventDetails | (string & {});

type Fields<T extends keyof Commands> = {} extends Commands[T]["fields"]
  ? [fields?: Commands[T]["fields"]]
  : [fields: Commands[T]["fields"]];

export type UploadState = "uploading" | "waiting" | "paused" | "done" | "failed" | "cancelled";

/** An upload. Events: `progress` with `{sent, total}` in bytes, `state` with `{state}`. */
export interface Upload extends EventTarget {
  /** Bytes that the server has. */
  readonly sent: number;
  readonly total: number;
  /** `waiting`: to try again, after an interruption. */
  readonly state: UploadState;
  /** Resolves with the id of the file once its message is acknowledged; rejects with a `WsError`. */
  readonly done: Promise<string>;
  /** Stop sending until `resume`; what the server has stays there for a day. */
  pause(): void;
  resume(): void;
  /** Give up, and remove what the server has; too late once its message is on its way. */
  cancel(): void;
}

export class WsClient extends EventTarget {
  constructor(options?: WsClientOptions);

  readonly state: State;
  /** The push `connection_established` of the connection there is, or null. */
  readonly connection: ConnectionEstablished | null;
  /** Ids of the sessions that this client has joined by `join`. */
  readonly sessions: string[];
  /** Where each stream of kept messages was left, by the stream's name. */
  readonly positions: Record<string, StreamPosition>;
  /** How many messages of `sendMessage` are not acknowledged yet. */
  readonly unsent: number;
  /** The answers that grow in the sessions that were joined. */
  readonly answers: Answer[];
  /** An answer that grows, by the id of its message. */
  answer(messageId: string): Answer | undefined;

  /** Connect and stay connected. Resolves at the first success, rejects if there is no hope. */
  connect(): Promise<ConnectionEstablished>;
  /**
   * Close for good. `connect` starts anew.
   *
   * @throws RangeError for another code than 1000 and 3000 to 4999
   */
  close(code?: number, reason?: string): void;

  /** Send a command; resolves with its reply, rejects with a `WsError`. */
  command<T extends keyof Commands>(type: T, ...fields: Fields<T>): Promise<Commands[T]["reply"]>;

  /** Join a session, now and after every reconnect. */
  join(sessionId: string): Promise<SessionJoined>;
  /** Leave a session, whatever is under way for it. */
  leave(sessionId: string): Promise<SessionLeft>;
  /** Say something in a joined session; waits for a connection, and for the `ack`. */
  sendMessage(
    sessionId: string,
    content: ChatMessage["content"],
    options?: {
      contentType?: string;
      clientMessageId?: string;
      /**
       * The offset that the page has shown last: if others have written after it, the message is refused
       * with the code `stale_view`, and `details.missed` has what they wrote, as pushes.
       */
      seenOffset?: number;
      /** The id of the message of this session that this one answers. */
      replyTo?: string;
    },
  ): Promise<MessageAck>;
  /** Replace the content of a message. */
  editMessage(messageId: string, content: ChatMessage["content"]): Promise<ChangeAck>;
  /** Delete a message: its content is removed everywhere. */
  deleteMessage(messageId: string): Promise<ChangeAck>;
  /**
   * Kept messages of a session: the last ones, those before an offset, or those after one; with
   * `changes` also the records of edits and deletions.
   */
  history(
    sessionId: string,
    page?: { before?: number; after?: number; limit?: number; changes?: boolean },
  ): Promise<HistoryReply>;
  /** Acknowledge messages by id, where the client does not do so by itself. */
  acknowledge(ids: string | string[]): void;
  /** Say that the user has seen these messages or notifications; told soon, many together. */
  markRead(ids: string | string[]): void;
  /** Say that the user has read a session up to an offset; told soon. */
  markRead(sessionId: string, offset: number): void;
  /** Stop an answer that grows; its producer gets an error with its next text. */
  cancelAnswer(messageId: string, reason?: string): Promise<Ack>;
  typing(sessionId: string, isTyping?: boolean): Promise<Commands["typing"]["reply"]>;
  presence(sessionId: string): Promise<PresenceReply>;
  /**
   * The user's conversations, newest activity first, each with `unread` and `last_message`. `cursor`:
   * the `next_cursor` of the page before.
   */
  conversations(options?: {
    limit?: number;
    cursor?: string | null;
    state?: SessionView["state"] | null;
  }): Promise<ConversationsReply>;
  /**
   * The user's notifications, newest first, with `unread`; `archived`: those that are archived
   * instead. `cursor`: the `next_cursor` of the page before.
   */
  notifications(options?: {
    limit?: number;
    cursor?: string | null;
    archived?: boolean;
    unread?: boolean;
  }): Promise<NotificationsReply>;
  /** Mark notifications as read or archived, on all devices: `ids`, or `upTo` and all older ones. */
  markNotifications(marks: {
    ids?: string[];
    upTo?: string;
    read?: boolean;
    archived?: boolean;
  }): Promise<MarkedAck>;
  /** What the user has chosen about notifications, after these changes. */
  preferences(
    changes?: Commands["preferences"]["fields"],
  ): Promise<Commands["preferences"]["reply"]>;
  /**
   * Find messages by their text, the newest first, in all sessions that the user may enter or in one.
   * `before`: the `next_cursor` of the page before; go on while there is one.
   */
  search(
    query: string,
    options?: { sessionId?: string; limit?: number; before?: string | null },
  ): Promise<Found>;
  /** Become the holder of a session, who answers in it; `term_changed`: it is in another term. */
  take(sessionId: string, expectedTerm?: number): Promise<HolderReply>;
  /** Hold a session no longer; `ai`: the AI that held it last holds it again. */
  release(sessionId: string, to?: "ai"): Promise<HolderReply>;

  /** The last 200 protocol events and the client's state, for support and `wsctl trace --with`. */
  report(): Report;

  /** Upload a file and say it in a session. What breaks off goes on by itself. */
  sendFile(
    sessionId: string,
    file: File | Blob,
    options?: { filename?: string; contentType?: string },
  ): Promise<Upload>;
  /** An address of a file that needs no token for ten minutes. */
  fileUrl(fileId: string): Promise<string>;

  /** The key for `pushManager.subscribe`, as bytes; null: the server has no Web Push. */
  pushKey(): Promise<(Uint8Array & { readonly buffer: ArrayBuffer }) | null>;
  /** Subscribe this browser to Web Push; null: the server has no Web Push. */
  subscribeToPush(registration: ServiceWorkerRegistration): Promise<PushSubscriptionJSON | null>;

  addEventListener<T extends EventName>(
    type: T,
    listener: Listener<T> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<T extends EventName>(
    type: T,
    listener: Listener<T> | null,
    options?: EventListenerOptions | boolean,
  ): void;
}
