/** Composables and components for Vue 3. */

import type { Texts } from "./components/index.js";
import type { App, ComputedRef, MaybeRefOrGetter, ShallowRef, Ref } from "vue";

import type {
  ChatMessage,
  ClientEvents,
  Conversation,
  InSession,
  MessageVersion,
  NotificationContent,
  State,
  WsClient,
  WsClientOptions,
  WsError,
} from "../src/index.js";

export type * from "./components/index.js";
export {
  WsComposer,
  WsConnectionStatus,
  WsConversationList,
  WsHolder,
  WsMessageList,
  WsNotifications,
  WsTyping,
} from "./components/index.js";

/** Names of the texts of the components. */
export type TextName =
  | "today"
  | "yesterday"
  | "you"
  | "messages"
  | "noMessages"
  | "loading"
  | "newMessages"
  | "newFromHere"
  | "toTheEnd"
  | "showAll"
  | "showLess"
  | "sending"
  | "sent"
  | "delivered"
  | "read"
  | "failed"
  | "retry"
  | "stale"
  | "sendAnyway"
  | "discard"
  | "deleted"
  | "edited"
  | "stop"
  | "answerCancelled"
  | "answerFailed"
  | "answerInterrupted"
  | "inReplyTo"
  | "reply"
  | "edit"
  | "delete"
  | "deleteSure"
  | "message"
  | "writeMessage"
  | "send"
  | "tooLong"
  | "replyTo"
  | "editing"
  | "typingOne"
  | "typingMany"
  | "typingSeveral"
  | "connected"
  | "connecting"
  | "waiting"
  | "waitingFor"
  | "elsewhere"
  | "closed"
  | "connect"
  | "conversations"
  | "noConversations"
  | "more"
  | "statePending"
  | "stateClosed"
  | "holderAi"
  | "holderUser"
  | "holderYou"
  | "holderNone"
  | "holderWanted"
  | "take"
  | "release"
  | "toAi"
  | "termChanged"
  | "noResponder"
  | "notifications"
  | "noNotifications"
  | "unread"
  | "markRead"
  | "archive"
  | "markAllRead"
  | "preferences"
  | "close";

/** For `app.use(wsClient, client)`: every component has it. */
export const wsClient: {
  install(
    app: App,
    client: WsClient,
    language?: { locale?: MaybeRefOrGetter<string>; texts?: MaybeRefOrGetter<Texts> },
  ): void;
};

/**
 * The language of the components below this one, such as `zh-CN`; texts of your own replace those of
 * the same name. Default: the language of the page, English or Chinese.
 */
export function useWsLocale(
  locale: MaybeRefOrGetter<string | undefined>,
  texts?: MaybeRefOrGetter<Texts>,
): void;

/**
 * The client of this component and those below it: made of options, or given. It is connected when
 * the component is mounted, and closed with it if it was made here. Without an argument: the client
 * of a component above.
 */
export function useWsClient(given?: WsClient | WsClientOptions): WsClient;

export interface Connection {
  state: Readonly<Ref<State>>;
  isOpen: ComputedRef<boolean>;
  /** Who is signed in; null before the first connection. */
  userId: Readonly<Ref<string | null>>;
  /** Why there is no connection; null while there is one. */
  lastClose: Readonly<ShallowRef<ClientEvents["ws:close"] | null>>;
}

/** The state of the connection. */
export function useConnection(client?: WsClient): Connection;

/** A message in a list; reactive. */
export interface MessageEntry {
  /** For `:key`; it does not change when a message that was sent comes back. */
  readonly key: string;
  /** The server's id; null until it has one. */
  readonly id: string | null;
  /** Its newest version; of a deleted one there is neither sender nor content. */
  readonly message: MessageVersion & {
    /** Why an answer has ended, if something was said. */
    reason?: string | null;
  };
  /** Its place in the session; null while it is being sent. */
  readonly offset: number | null;
  readonly status: "sending" | "sent" | "delivered" | "read" | "failed";
  /** Why it failed, or could not be changed. */
  readonly error: WsError | null;
  readonly isOwn: boolean;
  /** It is from somebody else, and not read yet; on a server without positions: since this was shown. */
  readonly isUnread: boolean;
  /** Ids of users. */
  readonly deliveredTo: readonly string[];
  readonly readBy: readonly string[];
}

export interface SessionOptions {
  /** How many messages are loaded at once: 50. */
  pageSize?: number;
  /** How many messages are held: 10,000. The oldest go, and can be loaded again by `loadOlder`. */
  limit?: number;
  /**
   * A message is not sent if others have written something that the list did not show yet: it fails with
   * the code `stale_view`, and what was missed is shown. `retry` sends it anyway. Default: false.
   */
  checkSeen?: MaybeRefOrGetter<boolean>;
  client?: WsClient;
}

export interface Session {
  /** Which one it is now. */
  sessionId: Readonly<Ref<string | null>>;
  client: WsClient;
  /** In the order of the session, and after them those that are being sent. */
  messages: Readonly<ShallowRef<readonly MessageEntry[]>>;
  unread: Readonly<Ref<number>>;
  /** The first message that was unread when the session was joined. */
  firstUnread: Readonly<ShallowRef<MessageEntry | null>>;
  /** Who is there. */
  users: Readonly<ShallowRef<readonly InSession[]>>;
  /** Who types. */
  typing: Readonly<ShallowRef<readonly { user_id: string; username: string | null }[]>>;
  isJoined: Readonly<Ref<boolean>>;
  isLoading: Readonly<Ref<boolean>>;
  hasOlder: Readonly<Ref<boolean>>;
  /** Why the session cannot be joined. */
  error: Readonly<ShallowRef<WsError | null>>;
  /** Say something; it is in `messages` at once. Resolves with its entry, sent or failed. */
  send(
    content: ChatMessage["content"],
    options?: { contentType?: string; replyTo?: string | null },
  ): Promise<MessageEntry>;
  /** Send a failed message again; it arrives once. */
  retry(entry: MessageEntry): Promise<MessageEntry>;
  /** Take a failed message off the list. */
  discard(entry: MessageEntry): void;
  /** Replace the content of a message; `error` of the entry says why that was not possible. */
  edit(entry: MessageEntry, content: ChatMessage["content"]): Promise<MessageEntry>;
  /** Delete a message. */
  remove(entry: MessageEntry): Promise<MessageEntry>;
  /** Stop an answer that grows. */
  stop(entry: MessageEntry): Promise<MessageEntry>;
  /** The message with this id, if it is in the list. */
  find(messageId: string): MessageEntry | undefined;
  /** What is written is an answer to this message, or replaces it; for a composer. */
  target: ShallowRef<{ kind: "reply" | "edit"; entry: MessageEntry } | null>;
  /** The page before the first message; for scrolling up. */
  loadOlder(): Promise<void>;
  /** The user has read what is in the list, or what is up to an offset; on all devices. */
  markRead(upTo?: number): void;
  /** To be called at every key. */
  startTyping(): void;
  stopTyping(): void;
}

/** A session, joined as long as a component uses it; null: none. */
export function useSession(
  sessionId: MaybeRefOrGetter<string | null | undefined>,
  options?: SessionOptions,
): Session;

/** A notification in a list; reactive. */
export interface NotificationEntry extends Readonly<NotificationContent> {
  readonly isRead: boolean;
}

export interface Notifications {
  /** Newest first; loaded from the server, without those that are archived. */
  notifications: Readonly<ShallowRef<readonly NotificationEntry[]>>;
  /** Those that pop up now, oldest first. */
  popups: Readonly<ShallowRef<readonly NotificationEntry[]>>;
  /** In the whole feed, also of those that are not loaded. */
  unread: Readonly<Ref<number>>;
  /** There are older ones. */
  hasMore: Readonly<Ref<boolean>>;
  isLoading: Readonly<Ref<boolean>>;
  error: Readonly<ShallowRef<WsError | null>>;
  /** Take one off the pop-ups. */
  dismiss(entry: NotificationEntry): void;
  /** One that closes by itself stays, until `release`. */
  hold(entry: NotificationEntry): void;
  release(entry: NotificationEntry): void;
  /** The user has seen these, or all, those that are not loaded too; on all devices. */
  markRead(...entries: NotificationEntry[]): void;
  /** Take these out of the list, on all devices. */
  archive(...entries: NotificationEntry[]): void;
  /** Older ones, at the end of the list. */
  loadMore(): Promise<void>;
}

/** The user's notifications, in step on all devices. */
export function useNotifications(options?: {
  /** How many are loaded at once, 100 at most; and held, unless more were loaded. */
  limit?: number;
  /** How long those pop up that close by themselves: 6000. */
  popupMs?: number;
  client?: WsClient;
}): Notifications;

export interface Conversations {
  /** Newest activity first; each is reactive. */
  conversations: Readonly<ShallowRef<readonly Readonly<Conversation>[]>>;
  /** In all of them. */
  unread: Readonly<Ref<number>>;
  hasMore: Readonly<Ref<boolean>>;
  isLoading: Readonly<Ref<boolean>>;
  error: Readonly<ShallowRef<WsError | null>>;
  loadMore(): Promise<void>;
}

/** The user's conversations, kept up to date; components of one client share them. */
export function useConversations(options?: {
  /** Only those in this state. */
  state?: Conversation["state"] | null;
  client?: WsClient;
}): Conversations;

/** How much is unread: in all conversations, or in one. */
export function useUnread(
  sessionId?: MaybeRefOrGetter<string | null>,
  client?: WsClient,
): ComputedRef<number>;
