/** How commands fail, and how long to wait before the next try. */

/**
 * An `error` reply, or a command that got no reply (`disconnected`, `timeout`), or one that was
 * never sent (`message_too_big`, `bad_content`, `outbox_full`).
 */
export class WsError extends Error {
  /** @param {{code: string, message: string, temporary?: boolean, [detail: string]: unknown}} error */
  constructor({ code, message, temporary = false, ...details }) {
    super(message);
    this.name = "WsError";
    this.code = code;
    /** Can trying again help? */
    this.temporary = temporary;
    /** More members of the error, such as `field` or `retry_after_ms`. */
    this.details = details;
  }
}

export const DISCONNECTED = "disconnected";
export const TIMEOUT = "timeout";
/** Others have written meanwhile: to be decided by who writes, not to be tried again as it is. */
export const STALE_VIEW = "stale_view";
export const RATE_LIMITED = "rate_limited";
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
const LONGEST_TOLD_MS = 600_000;

/** The error of what needs a connection while there is none. */
export function disconnected() {
  return new WsError({ code: DISCONNECTED, message: "not connected", temporary: true });
}

/**
 * Milliseconds until the next try after a temporary error: what the server says, else one second
 * that doubles from try to try to half a minute, with a random part.
 *
 * @param {{details?: {retry_after_ms?: unknown}}} error
 * @param {number} attempt 0 for the first try that failed
 */
export function delayAfter(error, attempt = 0) {
  const told = Number(error.details?.retry_after_ms ?? NaN);
  if (told >= 0) return Math.min(told, LONGEST_TOLD_MS);
  const limit = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return limit * (0.5 + Math.random() / 2);
}

/** Wait before trying again after a temporary error. */
export function pauseAfter(error, attempt = 0) {
  return new Promise((resolve) => setTimeout(resolve, delayAfter(error, attempt)));
}
