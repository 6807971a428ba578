/** Files for Vue 3, a module of its own: `@wsserver/client/vue/files`, with the style `files.css`. */

export { WsAttachment } from "./components/attachment.js";
export { WsUploads } from "./components/uploads.js";
