/** The commands that need no more than being sent, as methods. */

export class Calls extends EventTarget {
  /**
   * Kept messages of a session: the last ones, those before an offset, or those after one; with
   * `changes` also the records of edits and deletions.
   *
   * @param {string} sessionId
   * @param {{before?: number, after?: number, limit?: number, changes?: boolean}} [options]
   */
  history(sessionId, { before, after, limit, changes } = {}) {
    return this.command("history", { session_id: sessionId, before, after, limit, changes });
  }

  /** Replace the content of a message. Resolves with the `ack`, which has the position of the change. */
  editMessage(messageId, content) {
    return this.command("edit_message", { message_id: messageId, content });
  }

  /** Delete a message: its content is removed everywhere. */
  deleteMessage(messageId) {
    return this.command("delete_message", { message_id: messageId });
  }

  /**
   * Stop an answer that grows; its producer gets an error with its next text.
   *
   * @param {string} messageId
   * @param {string} [reason]
   */
  cancelAnswer(messageId, reason) {
    return this.command("cancel_answer", { message_id: messageId, reason });
  }

  typing(sessionId, isTyping = true) {
    return this.command("typing", { session_id: sessionId, is_typing: isTyping });
  }

  presence(sessionId) {
    return this.command("presence", { session_id: sessionId });
  }

  /**
   * The user's conversations, newest activity first, each with `unread` and `last_message`.
   *
   * @param {{limit?: number, cursor?: string | null, state?: "open" | "pending" | "closed" | null}}
   *   [options] `cursor`: the `next_cursor` of the page before
   */
  conversations({ limit, cursor, state } = {}) {
    return this.command("conversations", {
      limit,
      cursor: cursor ?? undefined,
      state: state ?? undefined,
    });
  }

  /**
   * The user's notifications, newest first, with `unread`.
   *
   * @param {{limit?: number, cursor?: string | null, archived?: boolean, unread?: boolean}} [options]
   *   `archived`: those that are archived instead; `unread`: only those
   */
  notifications({ limit, cursor, archived, unread } = {}) {
    const page = { limit, cursor: cursor ?? undefined, archived, unread };
    return this.command("notifications", page);
  }

  /**
   * Mark notifications as read or archived, on all devices: `ids`, or `upTo` and all older ones.
   *
   * @param {{ids?: string[], upTo?: string, read?: boolean, archived?: boolean}} marks
   */
  markNotifications({ ids, upTo, read, archived }) {
    return this.command("mark_notifications", { ids, up_to: upTo, read, archived });
  }

  /**
   * What the user has chosen about notifications, after these changes.
   *
   * @param {object} [changes] `channels`, `quiet_hours`, `daily_digest`
   */
  preferences(changes) {
    return this.command("preferences", changes);
  }

  /**
   * Find messages by their text, the newest first.
   *
   * @param {string} query
   * @param {{sessionId?: string, limit?: number, before?: string | null}} [options]
   *   `before`: the `next_cursor` of the page before
   */
  search(query, { sessionId, limit, before } = {}) {
    const fields = { query, session_id: sessionId, limit, before: before ?? undefined };
    return this.command("search", fields);
  }

  /**
   * Become the holder of a session, who answers in it.
   *
   * @param {string} sessionId
   * @param {number} [expectedTerm] refuse with `term_changed` if it is in another term by now
   */
  take(sessionId, expectedTerm) {
    return this.command("take", { session_id: sessionId, expected_term: expectedTerm });
  }

  /**
   * Hold a session no longer.
   *
   * @param {string} sessionId
   * @param {"ai"} [to] give it back to the AI that held it last; default: the session has no holder
   */
  release(sessionId, to) {
    return this.command("release", { session_id: sessionId, to });
  }
}
