/** Components of Vue 3. */

import type { AllowedComponentProps, VNodeChild, VNodeProps } from "vue";

import type { ChatMessage, ClientEvents, Conversation, HolderView, State } from "../../src/index.js";
import type { CallTextName } from "../calls.js";
import type { FileTextName } from "../files.js";
import type { PreferenceTextName } from "../preferences.js";
import type {
  Conversations,
  MessageEntry,
  NotificationEntry,
  Notifications,
  Session,
  TextName,
} from "../index.js";

/** A component with these properties and events, slots, and methods of its instance. */
export type WsComponent<Props, Slots, Methods = {}> = new () => {
  $props: Props & AllowedComponentProps & VNodeProps;
  $slots: { [Name in keyof Slots]?: Slots[Name] };
} & Methods;

/** What a slot gets, as in `#content="{ message }"`. */
type Slot<Given = {}> = (given: Given) => VNodeChild;

type OfMessage = { entry: MessageEntry; message: ChatMessage };

/** The same of a message that may be deleted: then it has neither sender nor content. */
type OfAny = { entry: MessageEntry; message: MessageEntry["message"] };

/** A session: what `useSession` gave, or an id. */
type OfSession = { session?: Session | null; sessionId?: string | null };

/** The messages of a session; only those in view are in the page. */
export const WsMessageList: WsComponent<
  OfSession & {
    /** Mark as read what is in view: true. */
    markRead?: boolean;
    /**
     * What is offered for messages: default `reply`, and for one's own `edit` and `delete`; with
     * `moderate` these also for those of others.
     */
    actions?: ("reply" | "edit" | "delete" | "moderate")[];
  },
  {
    /** In place of the bubble. */
    message: Slot<OfAny>;
    /** What is in the bubble. */
    content: Slot<OfMessage>;
    /** The same of a message that is a file: for `WsAttachment`. */
    file: Slot<OfMessage>;
    /** Above the first of several messages. */
    sender: Slot<OfAny>;
    avatar: Slot<OfAny>;
    /** Before the time. */
    meta: Slot<OfMessage>;
    /** Below a message that could not be sent. */
    failed: Slot<OfMessage>;
    /** Of a message that is sent: buttons of your own in place of `actions`. */
    actions: Slot<OfAny>;
    day: Slot<{ day: string }>;
    empty: Slot;
    error: Slot<{ error: Error }>;
    /** The button that leads to the end. */
    jump: Slot<{ count: number }>;
  },
  {
    toEnd(): void;
    /** Scroll to a message, if it is in the list. */
    reveal(messageId: string): void;
  }
>;

type Writing = {
  /** What is written; may be set. */
  text: { value: string };
  send(): Promise<void>;
};

/** The conversations of the user, one of them chosen: `v-model` has the id of its session. */
export const WsConversationList: WsComponent<
  {
    /** What `useConversations` gave; default: its own. */
    conversations?: Conversations | null;
    modelValue?: string | null;
    "onUpdate:modelValue"?: (sessionId: string) => void;
  },
  {
    /** All of an item. */
    item: Slot<{ conversation: Conversation }>;
    avatar: Slot<{ conversation: Conversation }>;
    title: Slot<{ conversation: Conversation }>;
    preview: Slot<{ conversation: Conversation }>;
    empty: Slot;
  }
>;

/** Who answers in a session; to take it over and to give it back. */
export const WsHolder: WsComponent<
  {
    sessionId: string;
    /** Only show who answers. */
    readonly?: boolean;
    onChanged?: (now: { term: number; holder: HolderView | null }) => void;
  },
  {
    default: Slot<{
      holder: HolderView | null;
      state: Conversation["state"];
      /** It is this user. */
      isOwn: boolean;
      isBusy: boolean;
      take(): Promise<void>;
      release(to?: "ai"): Promise<void>;
    }>;
  }
>;

/** Where one writes a message. */
export const WsComposer: WsComponent<
  OfSession & {
    placeholder?: string | null;
    disabled?: boolean;
    /** The option of `useSession`, where only the id is given. */
    checkSeen?: boolean;
    /** The Enter key sends: by default where there is a real keyboard. */
    enter?: boolean | null;
    onSent?: (entry: MessageEntry) => void;
    onFailed?: (entry: MessageEntry) => void;
  },
  {
    /** Above the line, such as a list of files. */
    before: Slot<Writing>;
    /** Before the field, such as a button for files. */
    start: Slot<Writing>;
    /** What is on the button. */
    send: Slot;
  },
  { focus(): void; send(): Promise<void> }
>;

/** Who is typing. */
export const WsTyping: WsComponent<
  { session: Session },
  { default: Slot<{ users: readonly { user_id: string; username: string | null }[] }> }
>;

/** A line that says so when there is no connection. */
export const WsConnectionStatus: WsComponent<
  {
    /** Show also that all is well. */
    always?: boolean;
  },
  {
    default: Slot<{
      state: State;
      lastClose: ClientEvents["ws:close"] | null;
      /** Until the next attempt. */
      secondsLeft: number | null;
    }>;
  }
>;

/** Notifications: pop-ups at the edge of the page, and a centre with the latest ones. */
export const WsNotifications: WsComponent<
  {
    /** What `useNotifications` gave; default: its own. */
    notifications?: Notifications | null;
    popups?: boolean;
    center?: boolean;
    /** One was chosen; `event.preventDefault()` keeps its link from being followed. */
    onOpen?: (entry: NotificationEntry, event: Event) => void;
  },
  {
    bell: Slot<{ unread: number }>;
    popup: Slot<{ entry: NotificationEntry; dismiss(): void }>;
    item: Slot<{ entry: NotificationEntry }>;
    empty: Slot;
    /** What the button of the centre shows in place of the list, such as `WsNotificationPreferences`. */
    preferences: Slot;
  }
>;

/** Texts of your own, by their names; `{name}` stands for a value. */
export type Texts = Partial<Record<TextName | CallTextName | FileTextName | PreferenceTextName, string | ((values: Record<string, any>) => string)>>;
