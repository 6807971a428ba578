/** How commands fail. */

/** An `error` reply, or a command that got no reply (`disconnected`, `timeout`). */
export class WsError extends Error {
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

/** The error of what needs a connection while there is none. */
export function disconnected() {
  return new WsError({ code: DISCONNECTED, message: "not connected", temporary: true });
}

/** Wait before trying again after a temporary error. */
export function pauseAfter(error) {
  return new Promise((resolve) => setTimeout(resolve, error.details?.retry_after_ms ?? 1000));
}
