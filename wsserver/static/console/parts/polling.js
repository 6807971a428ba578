/** Repeated requests: paused while the page is hidden, slower while the server does not answer. */

const SLOWEST_S = 15;

/**
 * Call `work` now and every `everyS()` seconds until `signal` is aborted; returns a function that
 * calls it at once.
 *
 * @param {() => Promise<void>} work
 * @param {number | (() => number)} everyS
 * @param {AbortSignal} signal
 * @param {(error: Error | null) => void} onOutcome called after each call
 */
export function poll(work, everyS, signal, onOutcome) {
  let timer = 0;
  let failures = 0;
  let isRunning = false;
  let isWanted = false; // called while it was running

  async function run() {
    clearTimeout(timer);
    isWanted = isRunning;
    if (isRunning || signal.aborted) return;
    isRunning = true;
    let failure = null;
    try {
      await work();
      failures = 0;
    } catch (error) {
      failure = error;
      failures += 1;
    }
    isRunning = false;
    if (signal.aborted) return;
    onOutcome(failure);
    if (isWanted) run();
    else schedule();
  }

  function schedule() {
    if (document.hidden) return; // visibilitychange goes on
    const normal = typeof everyS === "function" ? everyS() : everyS;
    const delay = failures ? Math.min(SLOWEST_S, 2 ** Math.min(failures - 1, 4)) : normal;
    if (Number.isFinite(delay)) timer = setTimeout(run, delay * 1000);
  }

  const onVisible = () => document.hidden || run();
  document.addEventListener("visibilitychange", onVisible, { signal });
  addEventListener("online", run, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  run();
  return run;
}
