/** The client of a component and those below it. */

import { getCurrentInstance, inject, onMounted, onScopeDispose, provide } from "vue";

import { WsClient } from "../src/index.js";
import { installLocale } from "./locale.js";

const CLIENT = Symbol.for("@wsserver/client");
/** What a component itself has provided, which `inject` gives only to those below it. */
const own = new WeakMap();

/** For `app.use(wsClient, client, {locale, texts})`: every component has it. */
export const wsClient = {
  install(app, client, language) {
    app.provide(CLIENT, client);
    if (language) installLocale(app, language);
  },
};

/**
 * The client of this component and those below it: made of options, or given. It is connected when
 * the component is mounted, and closed with it if it was made here. Without an argument: the client
 * of a component above.
 */
export function useWsClient(given) {
  if (given === undefined) {
    const client = own.get(getCurrentInstance()) ?? inject(CLIENT, null);
    if (client !== null) return client;
    throw new Error(
      "no client: call useWsClient({…}) in a component above, or app.use(wsClient, …)",
    );
  }
  const isOurs = !(given instanceof WsClient);
  const client = isOurs ? new WsClient(given) : given;
  provide(CLIENT, client);
  own.set(getCurrentInstance(), client);
  onMounted(() => client.connect().catch(() => {})); // `useConnection` says why
  if (isOurs) onScopeDispose(() => client.close());
  return client;
}

/** Listen for as long as the component lives. */
export function on(client, name, handle) {
  const listener = ({ detail }) => handle(detail);
  client.addEventListener(name, listener);
  onScopeDispose(() => client.removeEventListener(name, listener));
}
