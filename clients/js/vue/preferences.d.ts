/** Notification preferences for Vue 3. */

import type { ComputedRef, ShallowRef } from "vue";

import type { Commands, WsClient, WsError } from "../src/index.js";
import type { WsComponent } from "./components/index.js";

/** A channel that notifications come by. */
export type NotificationChannel = "websocket" | "push" | "sms" | "email";

type Changes = NonNullable<Commands["preferences"]["fields"]>;
type Stored = Commands["preferences"]["reply"];

/** What the user has chosen about notifications. */
export interface NotificationPreferences {
  /** As the server has them, with changes that are being saved; null: not loaded yet. */
  preferences: ShallowRef<Stored | null>;
  /** All templates that the server has. */
  templates: ComputedRef<string[]>;
  isSaving: ComputedRef<boolean>;
  /** Why they could not be read, or the latest change was not saved. */
  error: ShallowRef<WsError | null>;
  /** The choice for a template, or for all others (`*`); null: none of its own. */
  choice(template: string, channel: NotificationChannel): boolean | null;
  /** Whether the channel is on, by its own choice or that for all others. */
  isOn(template: string, channel: NotificationChannel): boolean;
  /** Switch a channel; what is as for all others follows them from now on. */
  setChannel(template: string, channel: NotificationChannel, isOn: boolean): Promise<boolean>;
  /** Null: those of the contact addresses; the same `start` and `end`: none. */
  setQuietHours(hours: Changes["quiet_hours"]): Promise<boolean>;
  setDailyDigest(digest: Changes["daily_digest"]): Promise<boolean>;
  /** Any changes, as the command takes them; whether they are saved. */
  change(changes: Changes): Promise<boolean>;
}

/** What the user of a client has chosen about notifications; each change is saved at once. */
export function useNotificationPreferences(options?: {
  client?: WsClient;
}): NotificationPreferences;

/** Kinds of notifications by channels, quiet hours and a daily digest, to be changed. */
export const WsNotificationPreferences: WsComponent<
  {
    /** What `useNotificationPreferences` gave; default: its own. */
    preferences?: NotificationPreferences | null;
    /** Templates that are listed, in this order; default: all of the server. */
    templates?: string[] | null;
    /** Channels that are listed; default: all. */
    channels?: NotificationChannel[];
    /** Names of templates, in place of those that are made of their ids. */
    names?: Record<string, string>;
  },
  {
    /** The name of a template; `*`: all others. */
    name: (given: { template: string; name: string }) => unknown;
  }
>;

/** Names of the texts of `WsNotificationPreferences`, those of templates included. */
export type PreferenceTextName =
  | "notificationPreferences"
  | "channels"
  | "kind"
  | "allOthers"
  | "everything"
  | "websocket"
  | "push"
  | "sms"
  | "email"
  | "alwaysUrgent"
  | "quietHours"
  | "quietHint"
  | "quietContacts"
  | "from"
  | "until"
  | "timeZone"
  | "dailyDigest"
  | "digestHint"
  | "at"
  | "by"
  | "preferencesLoading"
  | "preferencesSaving"
  | "preferencesSaved"
  | "notSaved"
  | "notLoaded"
  | "device_status"
  | "device_reconnect"
  | "risk_alert"
  | "ai_status"
  | "message_status"
  | "human_takeover"
  | "chat_message"
  | "cost_warning"
  | "budget_exceeded"
  | "usage_report"
  | "maintenance"
  | "feature_update"
  | "security_alert"
  | "task_overdue"
  | "missed_call"
  | "conversation_waiting"
  | "answer_stalled";
