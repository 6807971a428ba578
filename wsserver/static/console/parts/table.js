/** Tables of rows in memory: searched, sorted, in pages; the address keeps what is shown. */

import { fill, h, oncePerFrame, setText } from "./dom.js";
import { count, timeOf } from "./format.js";
import { cellsOf, emptyRow, headerOf, rowOf, tableOf } from "./table_cells.js";
import { csvOf, paged, searched, sorted } from "./table_rows.js";
import { t } from "./table_texts.js";
import { toast } from "./toasts.js";

const SIZE = 50;

/**
 * @typedef {{key: string, label: string, value: (row) => any, cell?: (row) => any, isNumber?: boolean,
 *   isWide?: boolean, isFixed?: boolean, isFree?: boolean, isTitle?: boolean}} Column `value` is sorted, searched and exported; `cell` is
 *   shown, by default the value; `isWide`: left out on phones; `isFixed`: cannot be sorted by;
 *   `isFree`: may have several lines; `isTitle`: what a row is, beside its heading
 */

export class DataTable {
  #options;
  #rows = [];
  #texts = new WeakMap(); // row -> what is searched
  #state;
  #lines = new Map(); // key of a row -> {row, element}
  #search;
  #note = h("p", { className: "hint", role: "status" });
  #body = h("tbody");
  #headers = new Map();
  #pager;
  #more = null; // what is known about rows that are not loaded
  #source = null; // what searches and turns a list that is not loaded
  #draw = oncePerFrame(() => this.#render());

  /**
   * @param {{label: string, columns: Column[], keyOf: (row) => string, router, query: URLSearchParams,
   *   sort?: string, filters?: Node[], file?: string, empty?: string, prefix?: string}} options
   *   `sort`: the key of the column that rows are sorted by at first, descending with a `-` before
   *   it; `file`: the name of a download; `prefix`: of the names in the address
   */
  constructor(options) {
    this.#options = { prefix: "", sort: options.columns[0].key, ...options };
    const { query, prefix, label, columns, filters = [], file } = this.#options;
    this.#state = {
      q: query.get(`${prefix}q`) ?? "",
      sort: query.get(`${prefix}sort`) ?? this.#options.sort,
      page: Number(query.get(`${prefix}page`)) || 1,
    };
    this.#search = h("input", {
      type: "search",
      value: this.#state.q,
      spellcheck: false,
      "aria-label": `${t("search")}: ${label}`,
      placeholder: t("search"),
    });
    this.#search.addEventListener("input", () => {
      this.#change({ q: this.#search.value, page: 1 });
      this.#source?.onSearch();
    });
    const download = h(
      "button",
      { type: "button", className: "quiet", onclick: () => this.#downloadAs(file) },
      "CSV",
    );
    download.setAttribute("aria-label", t("download"));
    this.#pager = h("div", { className: "pager" });
    this.element = h(
      "section",
      { className: "panel table-panel", "aria-label": label },
      h(
        "div",
        { className: "row toolbar" },
        this.#search,
        filters,
        h("span", { className: "grow" }),
        this.#note,
        this.#pager,
        file ? download : null,
      ),
      h(
        "div",
        { className: "scroll", tabIndex: 0, role: "group", "aria-label": label },
        tableOf(
          columns.map((column) => this.#header(column)),
          this.#body,
          "data sorts",
        ),
      ),
    );
  }

  /**
   * Show these rows from now on.
   *
   * @param {object[]} rows
   * @param {{total?: number, isCut?: boolean, isLoading?: boolean, isFound?: boolean,
   *   page?: {number: number, hasNext: boolean}}} [more]
   *   about rows that are not here; `isFound`: these are those that the server has found; `page`: these
   *   are one page of them, in the server's order
   */
  set(rows, more = null) {
    this.#rows = rows;
    this.#more = more;
    this.#draw();
  }

  /** The words that are searched for. */
  get words() {
    return this.#state.q.trim();
  }

  /** @param {{onSearch: () => void, onTurn: (step: number) => void, readAll: () => Promise<object[]>}} source */
  follow(source) {
    this.#source = source;
  }

  #header(column) {
    if (column.isFixed) return headerOf(column);
    const sort = h(
      "button",
      { type: "button", onclick: () => this.#sortBy(column.key) },
      column.label,
    );
    sort.title = t("sort_by", { column: column.label });
    const header = headerOf(column, sort);
    this.#headers.set(column.key, header);
    return header;
  }

  #sortBy(key) {
    const { sort } = this.#state;
    this.#change({ sort: sort === key ? `-${key}` : key, page: 1 });
  }

  #change(changes) {
    Object.assign(this.#state, changes);
    const { q, sort, page } = this.#state;
    const { prefix, router } = this.#options;
    router.setQuery({
      [`${prefix}q`]: q,
      [`${prefix}sort`]: sort === this.#options.sort ? null : sort,
      [`${prefix}page`]: page === 1 ? null : page,
    });
    this.#draw();
  }

  #found() {
    const { columns } = this.#options;
    const textOf = (row) => {
      let text = this.#texts.get(row);
      if (text === undefined) {
        text = columns
          .map(({ value }) => value(row) ?? "")
          .join("\n")
          .toLowerCase();
        this.#texts.set(row, text);
      }
      return text;
    };
    const words = this.#more?.isFound ? "" : this.#state.q;
    const found = searched(this.#rows, words, textOf);
    const key = this.#state.sort.replace(/^-/, "");
    const column = columns.find((each) => each.key === key) ?? columns[0];
    return sorted(found, column.value, this.#state.sort.startsWith("-"));
  }

  #render() {
    const page = this.#more?.page;
    const found = page ? this.#rows : this.#found();
    const shown = page ? this.#placed(page) : paged(found, this.#state.page, SIZE);
    const { keyOf, columns, empty } = this.#options;
    const lines = new Map();
    for (const row of shown.rows) {
      const key = keyOf(row);
      lines.set(key, this.#line(key, row));
    }
    this.#lines = lines;
    const elements = [...lines.values()].map(({ element }) => element);
    if (!elements.length) {
      const text = this.#rows.length
        ? t("none_found")
        : this.#more?.isLoading
          ? "…"
          : (empty ?? t("none"));
      elements.push(emptyRow(columns, text));
    }
    replaceAll(this.#body, elements);
    for (const [key, header] of this.#headers) {
      const direction = { [key]: "ascending", [`-${key}`]: "descending" }[this.#state.sort];
      const sort = header.firstElementChild;
      sort.disabled = Boolean(page); // the server has an order of its own
      if (direction && !page) header.setAttribute("aria-sort", direction);
      else header.removeAttribute("aria-sort");
    }
    this.#showNote(found.length, shown);
    this.#showPager(shown);
  }

  /** Where the rows are in the list of the server. */
  #placed({ number, hasNext }) {
    const from = (number - 1) * SIZE + 1;
    const last = Math.max(number + hasNext, Math.ceil(this.#more.total / SIZE));
    return { rows: this.#rows, page: number, last, from, to: from + this.#rows.length - 1, hasNext };
  }

  /** The line of a row; the one that is there is kept, as the focus may be in it. */
  #line(key, row) {
    const { columns } = this.#options;
    const old = this.#lines.get(key);
    if (old?.row === row) return old;
    const contents = columns.map((column) => (column.cell ?? column.value)(row));
    if (!old) return { row, element: rowOf(columns, contents) };
    cellsOf(columns, contents).forEach((cell, n) => {
      const present = old.element.children[n];
      if (!present.isEqualNode(cell)) present.replaceWith(cell);
    });
    return { row, element: old.element };
  }

  #showNote(found, { from, to }) {
    const all = this.#more?.total ?? this.#rows.length;
    const parts = [];
    if (this.#more?.page) {
      parts.push(t("rows_shown", { from, to, n: count(all) }), t("by_id"));
    } else if (this.#more?.isFound) {
      parts.push(t("rows_shown", { from, to, n: count(all) }));
    } else if (this.#state.q)
      parts.push(t("rows_found", { from, to, n: count(found), all: count(this.#rows.length) }));
    else parts.push(t("rows_shown", { from, to, n: count(found) }));
    if (this.#more?.isLoading)
      parts.push(t("loaded", { n: count(this.#rows.length), all: count(all) }));
    else if (this.#more?.isCut)
      parts.push(t("cut", { n: count(this.#rows.length), all: count(all) }));
    setText(this.#note, parts.join(" · "));
    const n = count(this.#more?.page ? all : this.#rows.length);
    this.#search.placeholder = this.#more?.isFound ? t("search") : t("search_hint", { n });
  }

  #showPager({ page, last, hasNext }) {
    if (last === 1) return this.#pager.replaceChildren();
    const go = (to) =>
      this.#more?.page ? this.#source.onTurn(to - page) : this.#change({ page: to });
    if (!this.#pager.childElementCount) {
      fill(
        this.#pager,
        h(
          "button",
          { type: "button", className: "quiet", title: t("previous"), "aria-label": t("previous") },
          "‹",
        ),
        h("span", { className: "number" }),
        h(
          "button",
          { type: "button", className: "quiet", title: t("next"), "aria-label": t("next") },
          "›",
        ),
      );
    }
    const [back, text, next] = this.#pager.children;
    back.disabled = page === 1;
    back.onclick = () => go(page - 1);
    next.disabled = page === last || hasNext === false;
    next.onclick = () => go(page + 1);
    setText(text, `${count(page)} / ${count(last)}`);
  }

  #downloadAs(file) {
    this.#download(file).catch((error) => toast(error.message, { kind: "error" }));
  }

  async #download(file) {
    const rows = this.#more?.page ? await this.#source.readAll() : this.#found();
    const text = csvOf(this.#options.columns, rows);
    const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
    const time = timeOf(Date.now()).replaceAll(":", "");
    h("a", { href: url, download: `${file}-${time}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

/** Make these the children, without moving those that are in their place. */
function replaceAll(parent, children) {
  children.forEach((child, n) => {
    const present = parent.children[n];
    if (present === child) return;
    if (present) parent.insertBefore(child, present);
    else parent.append(child);
  });
  while (parent.childElementCount > children.length) parent.lastElementChild.remove();
}
