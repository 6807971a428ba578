/** Close codes and reasons: which allow a reconnect, and when. */

const RECONNECTING = new Set([
  1001, // the server goes away
  1005, // closed without a code, as proxies do
  1006, // no close frame: the network, or a proxy that is none of ours
  1012, // restart
  1013, // try later
  1014, // bad gateway
  1015, // TLS failed, as behind a captive portal
]);
export const RESTART = 1012;
export const BAD_REQUEST = 4501;
export const CONNECTION_LIMIT = 4504;
/** The reason for which a tab loses a connection that another tab has had, or has now. */
export const HANDED_OVER = "another tab takes over; reconnect_after_ms=0";
const PATIENT = new Set([1011, 1013, 4029, CONNECTION_LIMIT]);
const PATIENT_ATTEMPT = 3;
const LONGEST_HINT_MS = 600_000;
const REASON_BYTES = 123; // RFC 6455 §5.5.1
const EVICTED = "evicted";

/** Do the rules of the close codes allow coming back after this one? */
export function mayReconnect(code) {
  return RECONNECTING.has(code) || (code >= 4000 && code <= 4499);
}

/**
 * Was the connection closed because a newer one of the same user needed its place? Then coming back
 * at once would close another one: it waits for a change.
 */
export function isEvicted(code, reason) {
  return code === CONNECTION_LIMIT && reason.startsWith(EVICTED);
}

/** Does the code ask for more patience than a broken network? */
export function isPatient(code) {
  return PATIENT.has(code);
}

/**
 * Full jitter: anywhere from nothing to a limit that doubles from try to try, so that clients do
 * not come back in step.
 */
export function backoffMs(code, attempt, { minDelayMs, maxDelayMs }) {
  const exponent = Math.max(attempt, isPatient(code) ? PATIENT_ATTEMPT : 0);
  return Math.random() * Math.min(maxDelayMs, minDelayMs * 2 ** exponent);
}

/** The hint in the reason of a 1012, for a client that missed `server_draining`; or null. */
export function hintOf(reason) {
  const match = /reconnect_after_ms=(\d{1,9})/.exec(reason);
  return match ? limited(Number(match[1])) : null;
}

/** A delay that the server asks for, as long as it makes sense; else null. */
export function limited(delayMs) {
  return Number.isFinite(delayMs) && delayMs >= 0 ? Math.min(delayMs, LONGEST_HINT_MS) : null;
}

/** Throws a RangeError for a code that a page may not close with. */
export function checkCode(code) {
  if (code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new RangeError(`close code ${code}: only 1000 and 3000 to 4999 are allowed`);
  }
}

/** A reason cut to what a close frame holds, between two characters. */
export function cutReason(reason) {
  const bytes = new TextEncoder().encode(reason);
  if (bytes.length <= REASON_BYTES) return reason;
  let end = REASON_BYTES;
  while ((bytes[end] & 0xc0) === 0x80) end -= 1; // in the middle of a character
  return new TextDecoder().decode(bytes.subarray(0, end));
}
