/** Work that many events ask for, done once for all events of a frame. */

import { onScopeDispose } from "vue";

const HIDDEN_MS = 200; // a page that is not shown has no frames

/**
 * A function that has `work` done soon: in the next frame of the page, or where there are none, as in
 * Node, when the running script ends. It ends with the component.
 *
 * @param {() => void} work
 */
export function oncePerFrame(work) {
  let isDue = false;
  let frame = 0;
  let timer = 0;
  const stop = () => {
    isDue = false;
    globalThis.cancelAnimationFrame?.(frame);
    clearTimeout(timer);
  };
  const run = () => {
    if (!isDue) return;
    stop();
    work();
  };
  onScopeDispose(stop);
  return () => {
    if (isDue) return;
    isDue = true;
    if (globalThis.requestAnimationFrame === undefined) {
      queueMicrotask(run);
      return;
    }
    frame = requestAnimationFrame(run);
    timer = setTimeout(run, HIDDEN_MS);
  };
}
