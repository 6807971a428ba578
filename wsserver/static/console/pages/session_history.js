/** The kept messages of a session: the last ones, older ones on demand, new ones as they come. */

import { get, id } from "../parts/api.js";
import { at, button, json, userLink } from "../parts/blocks.js";
import { h } from "../parts/dom.js";
import { count } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { t } from "./list_texts.js";

const PAGE = 50;
const LONG = 2000;

export class History {
  #path;
  #signal;
  #hasTrace;
  #epoch = null;
  #first = null; // offset of the oldest message that is shown
  #last = 0;
  #isLoading = false;
  #body = h("tbody");
  #older = button(t("older"), () => this.#loadOlder());
  #none = h("p", { className: "hint" }, t("no_history"));

  constructor(sessionId, signal, hasTrace) {
    this.#hasTrace = hasTrace;
    this.#path = `/sessions/${id(sessionId)}/history`;
    this.#signal = signal;
    this.#older.hidden = true;
    const columns = ["offset", "time", "sender", "content", "trace"];
    this.element = h(
      "section",
      { className: "panel table-panel", "aria-label": t("history") },
      h("div", { className: "row spread toolbar" }, h("h2", {}, t("history")), this.#older),
      this.#none,
      h(
        "div",
        { className: "scroll", tabIndex: 0, role: "group", "aria-label": t("history") },
        h(
          "table",
          { className: "data" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              columns.map((each) =>
                h(
                  "th",
                  { scope: "col", className: each === "offset" ? "number wide" : "" },
                  t(each),
                ),
              ),
            ),
          ),
          this.#body,
        ),
      ),
    );
  }

  /** Load what has come up to this position; newest first. */
  async follow(epoch, offset) {
    if (this.#isLoading || (epoch === this.#epoch && offset <= this.#last)) return;
    this.#isLoading = true;
    try {
      const isNew = epoch !== this.#epoch;
      const page = await get(
        this.#path,
        isNew ? { limit: PAGE } : { after: this.#last, limit: PAGE },
        this.#signal,
      );
      if (isNew) {
        this.#body.replaceChildren();
        this.#first = page.messages[0]?.offset ?? null;
        this.#older.hidden = !page.has_more;
      }
      this.#epoch = epoch;
      this.#last = Math.max(page.messages.at(-1)?.offset ?? offset, isNew ? offset : 0);
      for (const push of page.messages) this.#body.prepend(this.#line(push));
      this.#none.hidden = this.#body.childElementCount > 0;
    } finally {
      this.#isLoading = false;
    }
  }

  async #loadOlder() {
    const page = await get(this.#path, { before: this.#first, limit: PAGE }, this.#signal);
    this.#body.append(...page.messages.toReversed().map((push) => this.#line(push)));
    this.#first = page.messages[0]?.offset ?? this.#first;
    this.#older.hidden = !page.has_more;
  }

  #line(push) {
    const message = push.message ?? {};
    const sender = message.sender;
    return h(
      "tr",
      {},
      h("td", { className: "number wide" }, count(push.offset)),
      h("td", {}, at(push.timestamp)),
      h("td", {}, sender ? userLink(sender.user_id, sender.username) : h("code", {}, push.type)),
      h("td", { className: "content" }, contentOf(push, message)),
      h(
        "td",
        { className: "free" },
        push.id
          ? [
              this.#hasTrace && [h("a", { href: pathTo("trace", push.id) }, t("trace")), " · "],
              receipts(push.id),
            ]
          : "–",
      ),
    );
  }
}

function contentOf(push, message) {
  if (message.deleted) return h("em", { className: "hint" }, t("deleted_message"));
  const content = message.content ?? push.data;
  const edited = message.edited_at ? h("span", { className: "hint" }, ` (${t("edited")})`) : null;
  if (typeof content !== "string") return [json(content ?? push), edited];
  const text = content.length > LONG ? `${content.slice(0, LONG)}…` : content;
  return [h("span", { className: "message-text" }, text), edited];
}

/** A button that becomes the numbers of recipients by state. */
function receipts(messageId) {
  const trigger = button(
    t("receipts"),
    async () => {
      trigger.disabled = true;
      const shown = h("span", { className: "hint", role: "status" });
      try {
        const { summary } = await get(`/messages/${id(messageId)}`);
        shown.textContent = t("receipt_line", summary);
      } catch (error) {
        shown.textContent = error.message;
      }
      trigger.replaceWith(shown);
    },
    "link",
  );
  return trigger;
}
