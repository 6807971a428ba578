/** The user's inbox: kept messages for this user, also those sent while offline. */

import { addLine, byId, h } from "../parts/dom.js";
import { contentOf, nameOf, timeOf } from "./lines.js";
import { text } from "./texts.js";

const LIMIT = 100;

export class Inbox {
  #list = byId("inbox-messages");

  /** Empty the list, for another user or a new connection. */
  clear() {
    this.#list.replaceChildren();
    byId("inbox").hidden = true;
  }

  /** After every connect: number of pending messages, offset of the stream. */
  greet({ inbox }) {
    byId("inbox").hidden = false;
    byId("inbox-state").textContent = text("inbox_state", { n: inbox.pending, offset: inbox.offset });
  }

  /** Any push; those of the inbox are shown. */
  add(push) {
    if (!push.stream?.startsWith("user:")) return;
    const line = h(
      "li",
      {},
      h("span", { className: "from" }, push.message ? nameOf(push.message.sender) : push.type),
      h("p", {}, says(push)),
      h("time", { dateTime: push.timestamp }, timeOf(push.timestamp)),
      h("small", { className: "place", title: push.epoch }, `#${push.offset}`),
    );
    addLine(this.#list, line, LIMIT);
  }
}

/** What a push of the inbox says, as text. */
function says({ message, notification, data, ...rest }) {
  if (message) return contentOf(message);
  if (notification) return [notification.title, notification.message].filter(Boolean).join("\n");
  if (data !== undefined) return data?.text ?? JSON.stringify(data);
  return JSON.stringify(rest); // a push that this page does not know
}
