/**
 * Loads a list of the API into a table, and again from time to time: the longer, the more rarely. A long
 * list stays on the server, which searches it: the table then has one page of it.
 */

import { get, loadAll } from "./api.js";
import { fill } from "./dom.js";
import { missing } from "./blocks.js";
import { poll } from "./polling.js";

const SHORTEST_S = 5;
const ROWS_PER_S = 500;
const SETTLED_MS = 1500;
const TYPED_MS = 300;
/** Rows that are loaded at most, of a list that the server can search. */
const LOADED = 2000;
const FIRST = 1000;
const PAGE = 50;

/**
 * @param {{path: string, name: string, query?: () => object, table: import("./table.js").DataTable,
 *   note: Element, signal: AbortSignal, shell, onRows?: (rows: object[], total: number) => void,
 *   isSearched?: boolean}} options
 *   `note`: where nodes that did not answer are named; `isSearched`: the list has the parameter `search`
 * @returns {() => void} loads it again at once
 */
export function keepLoaded(options) {
  const { path, name, query = () => ({}), table, note, signal, shell, onRows, isSearched } = options;
  let size = 0;
  let isFirst = true;
  let isLong = false; // without a search, it has more rows than are loaded
  let cursors = null; // of the pages up to the one that is shown; null: all rows are loaded
  let shown = null; // the cursors of the page that is shown
  let next = null; // the cursor of the page after it
  let run = 0; // a later one, with other filters, wins
  let typed = 0;

  async function load() {
    run += 1;
    const mine = run;
    if (isSearched && !(await isShort(mine))) return;
    const show = (rows, total) => {
      if (mine === run && isFirst) table.set([...rows], { total, isLoading: rows.length < total });
    };
    const asked = { ...query(), ...wordsOf() };
    const { rows, total, isCut, unreachable } = await loadAll(path, name, asked, signal, show);
    if (mine !== run) return;
    isFirst = false;
    size = rows.length;
    table.set(rows, { total, isCut, isFound: Boolean(asked.search) });
    fill(note, missing(unreachable));
    onRows?.(rows, total);
  }

  /** What the server searches for; a list that is loaded is searched by the table. */
  const wordsOf = () => (isLong && table.words ? { search: table.words.slice(0, 128) } : {});

  /** Whether the list can be loaded; else show a page of it. */
  async function isShort(mine) {
    const asked = { ...query(), ...wordsOf(), limit: cursors ? PAGE : 1 };
    const pages = cursors;
    let page = await get(path, { ...asked, cursor: pages?.at(-1) }, signal);
    if (mine !== run || cursors !== pages) return false; // turned over meanwhile: loaded next
    if (!asked.search) isLong = page.total > LOADED;
    if (page.total <= LOADED) {
      cursors = null;
      return true;
    }
    if (isLong && table.words && !asked.search) return isShort(mine); // the words of the address
    if (!cursors) {
      cursors = [null];
      page = await get(path, { ...asked, limit: PAGE }, signal);
      if (mine !== run) return false;
    }
    isFirst = false;
    size = PAGE;
    shown = cursors;
    next = page.next_cursor;
    const place = { number: cursors.length, hasNext: next !== null };
    table.set(page[name], { total: page.total, page: place });
    fill(note, missing(page.unreachable));
    return false;
  }

  const again = poll(
    load,
    () => Math.max(SHORTEST_S, size / ROWS_PER_S),
    signal,
    (error) => {
      shell.showAway(error?.status === 0);
      if (error && error.status !== 0) fill(note, error.message);
    },
  );
  if (isSearched) {
    table.follow({
      onSearch() {
        if (!isLong) return;
        clearTimeout(typed);
        typed = setTimeout(() => {
          if (cursors) cursors = [null];
          again();
        }, TYPED_MS);
      },
      onTurn(step) {
        if (shown !== cursors) return; // a second click, before the page is there
        cursors = step > 0 ? [...cursors, next] : cursors.slice(0, -1);
        again();
      },
      async readAll() {
        const asked = { ...query(), ...wordsOf() };
        return (await loadAll(path, name, asked, signal)).rows;
      },
    });
    signal.addEventListener("abort", () => clearTimeout(typed));
  }
  return () => {
    isFirst = true;
    if (cursors) cursors = [null];
    again();
    setTimeout(again, SETTLED_MS); // what an action closes is listed until its peer has answered
  };
}
