/** Tables of lists that the server filters and cuts into pages, newest first, such as the audit trail. */

import { get } from "./api.js";
import { missing } from "./blocks.js";
import { fill, h, setText } from "./dom.js";
import { count } from "./format.js";
import { poll } from "./polling.js";
import { emptyRow, headerOf, rowOf, tableOf } from "./table_cells.js";
import { t } from "./table_texts.js";

const LIMIT = 50;
const EVERY_S = 5;

/**
 * @typedef {{name: string, label: string, options?: [string, string][], suggestions?: string[]}} Filter
 *   a select where it has options, else a text
 */
export class CursorTable {
  #options;
  #filters = {};
  #cursors = [null]; // of the pages up to this one
  #shown = null; // those of the page that is shown
  #next = null;
  #body = h("tbody");
  #note = h("p", { className: "hint", role: "status" });
  #problem = h("div", { className: "note" });
  #back = h("button", { type: "button", className: "quiet", title: t("previous") }, "‹");
  #forward = h("button", { type: "button", className: "quiet", title: t("next") }, "›");
  #again = () => {};

  /**
   * @param {{label: string, path: string, name: string, columns: import("./table.js").Column[],
   *   filters: Filter[], query: URLSearchParams, router, signal: AbortSignal, shell, empty?: string}} options
   *   `path` and `name`: of the list in the API
   */
  constructor(options) {
    this.#options = options;
    const { label, columns, filters, query } = options;
    for (const { name } of filters) this.#filters[name] = query.get(name);
    this.#back.setAttribute("aria-label", t("previous"));
    this.#forward.setAttribute("aria-label", t("next"));
    // A second click before the page is there counts once: `next` is of the page that is shown.
    const isShown = () => this.#shown === this.#cursors;
    this.#back.onclick = () => isShown() && this.#turn(this.#cursors.slice(0, -1));
    this.#forward.onclick = () => isShown() && this.#turn([...this.#cursors, this.#next]);
    const headers = columns.map((each) => headerOf(each));
    this.element = h(
      "section",
      { className: "panel table-panel", "aria-label": label },
      h(
        "div",
        { className: "row toolbar" },
        filters.map((each) => this.#field(each)),
        h("span", { className: "grow" }),
        this.#note,
        h("div", { className: "pager" }, this.#back, this.#forward),
      ),
      this.#problem,
      h(
        "div",
        { className: "scroll", tabIndex: 0, role: "group", "aria-label": label },
        tableOf(headers, this.#body),
      ),
    );
  }

  /** Begin to load; later pages than the first are not loaded again by themselves. */
  start() {
    const { signal, shell } = this.#options;
    const everyS = () => (this.#cursors.length === 1 ? EVERY_S : Infinity);
    this.#again = poll(
      () => this.#load(),
      everyS,
      signal,
      (error) => {
        shell.showAway(error?.status === 0);
        if (error && error.status !== 0) {
          fill(this.#problem, h("p", { className: "problem", role: "alert" }, error.message));
        }
      },
    );
  }

  reload() {
    this.#again();
  }

  #field({ name, label, options, suggestions }) {
    const value = this.#filters[name] ?? "";
    let field;
    if (options) {
      const all = [["", label], ...options];
      field = h(
        "select",
        {},
        all.map(([each, text]) => h("option", { value: each, selected: each === value }, text)),
      );
    } else {
      field = h("input", {
        type: "search",
        value,
        placeholder: label,
        spellcheck: false,
        maxLength: 128,
      });
    }
    field.setAttribute("aria-label", label);
    let list = null;
    if (suggestions) {
      list = h(
        "datalist",
        { id: `list-${name}` },
        suggestions.map((each) => h("option", { value: each })),
      );
      field.setAttribute("list", list.id);
    }
    field.addEventListener("change", () => {
      this.#filters[name] = field.value.trim() || null;
      this.#options.router.setQuery({ [name]: this.#filters[name] });
      this.#turn([null]);
    });
    return list ? [field, list] : field;
  }

  #turn(cursors) {
    this.#cursors = cursors;
    this.#again();
  }

  async #load() {
    const { path, name, signal } = this.#options;
    const cursors = this.#cursors;
    const page = await get(
      path,
      { ...this.#filters, limit: LIMIT, cursor: cursors.at(-1) },
      signal,
    );
    if (cursors !== this.#cursors) return; // turned over meanwhile: loaded next
    this.#shown = cursors;
    this.#next = page.next_cursor;
    fill(this.#problem, missing(page.unreachable));
    this.#show(page[name], page.total);
  }

  #show(rows, total) {
    const { columns, empty } = this.#options;
    const lines = rows.map((row) =>
      rowOf(
        columns,
        columns.map((column) => (column.cell ?? column.value)(row)),
      ),
    );
    if (!lines.length) lines.push(emptyRow(columns, empty ?? t("none")));
    const isUsed = this.#body.contains(document.activeElement);
    if (!isUsed) fill(this.#body, lines); // else what has the focus would vanish
    const from = (this.#cursors.length - 1) * LIMIT;
    const shown = { from: rows.length ? from + 1 : 0, to: from + rows.length, n: count(total) };
    setText(this.#note, t("rows_shown", shown));
    this.#back.disabled = this.#cursors.length === 1;
    this.#forward.disabled = this.#next === null;
  }
}
