/** Components of Vue 3, as render functions: there is nothing to compile. */

export { WsComposer } from "./composer.js";
export { WsConnectionStatus } from "./connection-status.js";
export { WsConversationList } from "./conversation-list.js";
export { WsHolder } from "./holder.js";
export { WsMessageList } from "./message-list.js";
export { WsNotifications } from "./notifications.js";
export { WsTyping } from "./typing.js";
