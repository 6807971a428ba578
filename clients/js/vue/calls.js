/** Calls for Vue 3, a module of its own: `@wsserver/client/vue/calls`, with the style `calls.css`. */

export { useCalls } from "./use-calls.js";
export { WsCall } from "./components/call.js";
