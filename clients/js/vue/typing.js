/** Who types in a session, and telling the others that this user does. */

import { onScopeDispose, shallowRef } from "vue";

const SHOWN_MS = 8000; // should the end of it get lost
const TOLD_MS = 3000; // at most so often
const IDLE_MS = 4000;

/**
 * @param {(isTyping: boolean) => void} tell tells the others
 */
export function useTyping(tell) {
  const typing = shallowRef([]);
  const typists = new Map(); // user id -> {user_id, username, timer}
  let toldAt = 0;
  let idleTimer = 0;

  function show() {
    typing.value = [...typists.values()].map(({ user_id, username }) => ({ user_id, username }));
  }

  /** The push `typing`. */
  function typed({ user_id: userId, username, is_typing: isTyping }) {
    if (!isTyping) return stopped(userId);
    clearTimeout(typists.get(userId)?.timer);
    const timer = setTimeout(() => stopped(userId), SHOWN_MS);
    typists.set(userId, { user_id: userId, username, timer });
    return show();
  }

  /** This user types no more: has said so, has written, or has gone. */
  function stopped(userId) {
    const typist = typists.get(userId);
    if (typist === undefined) return;
    clearTimeout(typist.timer);
    typists.delete(userId);
    show();
  }

  /** To be called at every key: tells the others, not too often, and the end after a while. */
  function startTyping() {
    clearTimeout(idleTimer);
    idleTimer = setTimeout(stopTyping, IDLE_MS);
    if (Date.now() - toldAt < TOLD_MS) return;
    toldAt = Date.now();
    tell(true);
  }

  function stopTyping() {
    clearTimeout(idleTimer);
    if (toldAt === 0) return;
    toldAt = 0;
    tell(false);
  }

  function reset() {
    for (const { timer } of typists.values()) clearTimeout(timer);
    typists.clear();
    clearTimeout(idleTimer);
    toldAt = 0;
    typing.value = [];
  }
  onScopeDispose(reset);

  return { typing, typed, stopped, startTyping, stopTyping, reset };
}
