/**
 * What a user wants to be notified of, for Vue 3, a module of its own:
 * `@wsserver/client/vue/preferences`, with the style `preferences.css`.
 */

export { WsNotificationPreferences } from "./components/notification-preferences.js";
export { useNotificationPreferences } from "./use-preferences.js";
