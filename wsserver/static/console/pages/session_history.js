/** The kept messages of a session: the last ones, older ones on demand, new ones as they come. */

import { get, id } from "../parts/api.js";
import { at, button, json, userLink } from "../parts/blocks.js";
import { h, setText } from "../parts/dom.js";
import { count } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { headerOf, tableOf } from "../parts/table_cells.js";
import { answerPill } from "./answers.js";
import { t } from "./list_texts.js";

const PAGE = 50;
const LONG = 2000;

export class History {
  #path;
  #signal;
  #hasTrace;
  #epoch = null;
  #offset = 0;
  #isGrowing = false; // an answer among the last messages changes without a new offset
  #lines = new Map(); // offset -> {text, element}
  #isLoading = false;
  #body = h("tbody");
  #older = button(t("older"), () => this.#loadOlder());
  #none = h("p", { className: "hint" }, "…");
  #table;

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
      (this.#table = h(
        "div",
        { className: "scroll", hidden: true, tabIndex: 0, role: "group", "aria-label": t("history") },
        tableOf(
          columns.map((each) =>
            headerOf({ label: t(each), isNumber: each === "offset", isWide: each === "offset" }),
          ),
          this.#body,
        ),
      )),
    );
  }

  /** Show what there is up to this position, newest first; changed messages are shown anew. */
  async follow(epoch, offset) {
    const isSame = epoch === this.#epoch && offset === this.#offset;
    if (this.#isLoading || (isSame && !this.#isGrowing)) return;
    this.#isLoading = true;
    try {
      const { messages, has_more: hasMore } = await get(this.#path, { limit: PAGE }, this.#signal);
      const first = messages[0]?.offset ?? 0;
      const hasGap = this.#lines.size > 0 && first > Math.max(...this.#lines.keys()) + 1;
      if (epoch !== this.#epoch || hasGap || !this.#lines.size) {
        this.#lines.clear();
        this.#body.replaceChildren();
        this.#older.hidden = !hasMore;
      }
      for (const push of messages) this.#put(push);
      this.#isGrowing = messages.some(({ message }) => message?.state === "growing");
      [this.#epoch, this.#offset] = [epoch, offset];
      this.#table.hidden = this.#lines.size === 0;
      this.#tell(this.#lines.size > 0 ? "" : t("no_history"));
    } catch (error) {
      if (!this.#signal.aborted) this.#tell(error.message);
    } finally {
      this.#isLoading = false;
    }
  }

  #tell(text) {
    setText(this.#none, text);
    this.#none.hidden = text === "";
  }

  async #loadOlder() {
    const before = Math.min(...this.#lines.keys());
    try {
      const page = await get(this.#path, { before, limit: PAGE }, this.#signal);
      for (const push of page.messages.toReversed()) this.#put(push);
      this.#older.hidden = !page.has_more;
      this.#tell("");
    } catch (error) {
      if (!this.#signal.aborted) this.#tell(error.message);
    }
  }

  /** Put the line of a message at its place, unless it is there as it is. */
  #put(push) {
    const text = JSON.stringify(push);
    const known = this.#lines.get(push.offset);
    if (known?.text === text) return;
    const element = this.#line(push);
    this.#lines.set(push.offset, { text, element });
    if (known) return known.element.replaceWith(element);
    const after = [...this.#body.children].find(
      (each) => Number(each.dataset.offset) < push.offset,
    );
    if (after) after.before(element);
    else this.#body.append(element);
  }

  #line(push) {
    const message = push.message ?? {};
    const sender = message.sender;
    return h(
      "tr",
      { role: "row", dataset: { offset: push.offset } },
      h("td", { role: "cell", className: "number wide" }, count(push.offset)),
      h("td", { role: "cell" }, at(push.timestamp)),
      h(
        "td",
        { role: "cell" },
        sender ? userLink(sender.user_id, sender.username) : h("code", {}, push.type),
      ),
      h("td", { role: "cell", className: "content" }, contentOf(push, message)),
      h(
        "td",
        { role: "cell", className: "free" },
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
  const answer = message.state
    ? h(
        "a",
        { className: "answer-link", href: pathTo("answers", message.id) },
        answerPill(message.state),
      )
    : null;
  if (message.deleted) return h("em", { className: "hint" }, t("deleted_message"));
  const content = message.content ?? push.data;
  const edited = message.edited_at ? h("span", { className: "hint" }, ` (${t("edited")})`) : null;
  if (typeof content !== "string") return [json(content ?? push), edited];
  const text = content.length > LONG ? `${content.slice(0, LONG)}…` : content;
  return [h("span", { className: "message-text" }, text), edited, answer && [" ", answer]];
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
