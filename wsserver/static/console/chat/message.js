/** One message of a session: its newest content, its offset, its delivery status. */

import { h } from "../parts/dom.js";
import { contentOf, nameOf, timeOf } from "./lines.js";
import { text } from "./texts.js";

const STEPS = ["sent", "delivered", "read"];
const TICKS = { sent: "✓", delivered: "✓✓", read: "✓✓" };

export class Message {
  #text = h("p");
  #ticks = null;
  #users = new Map(); // user id -> latest delivery status

  /** From a push `new_message`; `me` is the signed-in user. */
  constructor(push, me) {
    const { message, stream = "" } = push;
    const isMine = message.sender?.user_id === me; // a deleted one has no sender
    this.id = push.id;
    /** Offset in the session's stream; undefined for live and for inbox messages. */
    this.offset = stream.startsWith("session:") ? push.offset : undefined;
    this.isUnread = !isMine && stream !== "";
    if (isMine && stream !== "") this.#ticks = h("span", { className: "ticks" });
    const kept = this.offset === undefined ? `${text("inbox")} #${push.offset}` : `#${push.offset}`;
    const place = stream === "" ? text("live_only") : kept;
    this.element = h(
      "li",
      { className: isMine ? "mine" : "" },
      h("span", { className: "from" }, isMine ? text("you") : nameOf(message.sender)),
      this.#text,
      h("time", { dateTime: message.created_at }, timeOf(message.created_at)),
      h("small", { className: "place", title: push.epoch ?? "" }, place),
      this.#ticks,
    );
    this.change(message);
    this.note("sent", null);
  }

  /** Its newest version: edited, grown or deleted. */
  change(message) {
    this.#text.textContent = contentOf(message);
    this.element.classList.toggle("deleted", Boolean(message.deleted));
  }

  /** A user's client has received it, or the user has read it. */
  note(status, user) {
    if (this.#ticks === null || !STEPS.includes(status)) return;
    if (user !== null) {
      const before = this.#users.get(user) ?? "sent";
      this.#users.set(user, STEPS[Math.max(STEPS.indexOf(before), STEPS.indexOf(status))]);
    }
    const reached = [...this.#users.values()];
    const furthest = STEPS.findLast((step) => reached.includes(step)) ?? "sent";
    const who = [...this.#users].map(([id, step]) => `${id}: ${text(`status_${step}`)}`);
    this.#ticks.dataset.status = furthest;
    this.#ticks.textContent = TICKS[furthest];
    this.#ticks.title = who.join("\n") || text("status_sent");
  }
}
