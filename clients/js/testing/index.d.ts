/** A server in memory for unit tests. */

import type {
  AnswerEndedPush,
  AnswerState,
  ChatMessage,
  Commands,
  CustomPush,
  ErrorCode,
  HolderView,
  Kept,
  MessageDeletedPush,
  MessageUpdatedPush,
  NewMessagePush,
  NotificationContent,
  NotificationPush,
  Pushes,
  SessionView,
  WebSocketClass,
  WsClient,
  WsClientOptions,
} from "../src/index.js";

export * from "./replay.js";

/** A command as it came, without its `ref`. */
export type ReceivedCommand = {
  [T in keyof Commands]: { user_id: string; type: T } & Commands[T]["fields"];
}[keyof Commands];

/** An answer as its producer sees it. */
export interface FakeAnswer {
  /** The id of its message. */
  readonly id: string;
  readonly state: AnswerState;
  /** Add text, pushed at once; false: it has ended. */
  append(text: string): boolean;
  /** End it; `content` replaces the text. Null: it has ended already. */
  finish(end?: {
    state?: "completed" | "failed" | "interrupted";
    content?: string;
    reason?: string;
  }): Kept<AnswerEndedPush> | null;
}

export class FakeServer {
  constructor(options?: {
    /** The clock; default: the machine's. */
    now?: () => Date;
  });

  /** Every command that has come, in order. */
  commands: ReceivedCommand[];
  /** A class for the option `WebSocket` of a client, whose token is its user's id. */
  readonly WebSocket: WebSocketClass;
  /** Ids of the users who are connected. */
  readonly users: string[];

  /** A client of a user, which reconnects and acknowledges without waiting. */
  client(userId: string, options?: WsClientOptions): WsClient;
  /** Wait until everything that is under way has arrived. */
  idle(): Promise<void>;

  /** A message in a session. */
  say(
    sessionId: string,
    content: ChatMessage["content"],
    options?: {
      from?: string;
      username?: string;
      role?: string;
      contentType?: string;
      replyTo?: string;
    },
  ): Kept<NewMessagePush> & { message: ChatMessage };
  /** Begin an answer that grows. */
  startAnswer(
    sessionId: string,
    options?: { from?: string; username?: string; content?: string; replyTo?: string },
  ): FakeAnswer;
  /** Edit a message, as a moderator does; null: there is none. */
  edit(
    messageId: string,
    content: ChatMessage["content"],
    by?: string,
  ): Kept<MessageUpdatedPush> | null;
  /** Delete a message, as a moderator does; null: there is none. */
  remove(messageId: string, by?: string): Kept<MessageDeletedPush> | null;
  /** Change what is known of a session. */
  update(
    sessionId: string,
    fields: Partial<Pick<SessionView, "title" | "state" | "metadata">>,
    by?: string,
  ): SessionView;
  /** Set or clear the holder of a session. */
  hold(sessionId: string, holder: HolderView | null, by?: string): SessionView;
  /** A notification in a user's inbox. */
  notify(userId: string, content?: Partial<NotificationContent>): Kept<NotificationPush>;
  /** Any live push: to all, to a user or to a session. */
  push<T extends keyof Pushes>(
    type: T,
    fields: Omit<Pushes[T], "type" | "timestamp">,
    target?: { user?: string; session?: string },
  ): Pushes[T];
  push<T extends string>(
    type: T extends keyof Pushes ? never : T,
    fields?: Partial<Omit<CustomPush, "type" | "timestamp">>,
    target?: { user?: string; session?: string },
  ): CustomPush;

  /** Close the connections of a user, or all of them: 1006, as if the network had gone. */
  disconnect(code?: number, reason?: string, userId?: string): void;
  /** The network is gone; `start` brings it back. What is kept stays. */
  stop(): void;
  start(): void;
  /** Refuse who connects from now on, with this close code; null: let them in again. */
  refuseConnections(code: number | null, reason?: string): void;
  /** Forget the numbering of a session: clients that come back see `ws:gap`. */
  forget(sessionId: string): void;

  /** Answer a command in another way; undefined: not at all; null: as before. */
  answer<T extends keyof Commands>(
    type: T,
    answer: ((command: { type: T } & Commands[T]["fields"]) => object | undefined) | null,
  ): void;
  /** Refuse a command. */
  refuse<T extends keyof Commands>(
    type: T,
    code: ErrorCode,
    details?: { temporary?: boolean; retry_after_ms?: number; [detail: string]: unknown },
  ): void;
}
