/**
 * Composables and components for Vue 3. They run on a server, too, where they do nothing: a client is
 * connected when its component is mounted.
 */

export { useWsClient, wsClient } from "./client.js";
export * from "./components/index.js";
export { useConnection } from "./connection.js";
export { useConversations, useUnread } from "./conversations.js";
export { useWsLocale } from "./locale.js";
export { useNotifications } from "./notifications.js";
export { useSession } from "./session.js";
