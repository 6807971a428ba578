/** The moments at which a network may be another one, or a page has slept. */

/**
 * Call `wake` when the browser says that the network is back or has changed, when the page is shown
 * again (another tab, a locked phone, the back/forward cache) and when it is thawed. Returns a
 * function that ends this.
 *
 * @param {() => void} wake
 * @returns {() => void}
 */
export function onWakeup(wake) {
  const { document } = globalThis;
  /** @type {any} */
  const navigator = globalThis.navigator; // `connection` is Chromium's
  const shown = () => document.visibilityState === "visible" && wake();
  const restored = (event) => event.persisted && wake();
  const listeners = [
    [globalThis, "online", wake],
    [globalThis, "pageshow", restored],
    [document, "visibilitychange", shown],
    [document, "resume", wake],
    [navigator?.connection, "change", wake],
  ].filter(([target]) => target?.addEventListener); // outside of browsers there is none of it
  for (const [target, name, listener] of listeners) target.addEventListener(name, listener);
  return () => {
    for (const [target, name, listener] of listeners) target.removeEventListener(name, listener);
  };
}
