/** The list of everything that the server pushes. */

import { addLine, byId, h } from "../parts/dom.js";
import { BEATS, lineOf, timeOf } from "./lines.js";
import { text } from "./texts.js";

const LIMIT = 500;

export class Live {
  #list = byId("lines");
  #isPaused = false;

  constructor() {
    byId("pause").addEventListener("click", () => this.#pause());
    byId("clear").addEventListener("click", () => this.#list.replaceChildren());
  }

  /** Add a line; it opens to the whole push as JSON. */
  add(push) {
    if (this.#isPaused || (BEATS.has(push.type) && !byId("show-beats").checked)) return;
    byId("no-lines").hidden = true;
    const summary = h(
      "summary",
      {},
      h("time", { dateTime: push.timestamp ?? "" }, timeOf(push.timestamp)),
      h("code", {}, push.type),
      push.stream === undefined
        ? null
        : h("small", { className: "place", title: push.epoch }, `${push.stream} #${push.offset}`),
      h("span", {}, lineOf(push)),
    );
    const details = h("details", {}, summary);
    // Formatted only when it is opened.
    details.addEventListener(
      "toggle",
      () => details.append(h("pre", {}, JSON.stringify(push, null, 2))),
      { once: true },
    );
    addLine(this.#list, h("li", {}, details), LIMIT);
  }

  #pause() {
    this.#isPaused = !this.#isPaused;
    const button = byId("pause");
    button.setAttribute("aria-pressed", String(this.#isPaused));
    button.textContent = text(this.#isPaused ? "resume" : "pause");
  }
}
