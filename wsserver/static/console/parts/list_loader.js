/** Loads a list of the API into a table, and again from time to time: the longer, the more rarely. */

import { loadAll } from "./api.js";
import { fill } from "./dom.js";
import { missing } from "./blocks.js";
import { poll } from "./polling.js";

const SHORTEST_S = 5;
const ROWS_PER_S = 500;
const SETTLED_MS = 1500;

/**
 * @param {{path: string, name: string, query?: () => object, table: import("./table.js").DataTable,
 *   note: Element, signal: AbortSignal, shell, onRows?: (rows: object[], total: number) => void}} options
 *   `note`: where nodes that did not answer are named
 * @returns {() => void} loads it again at once
 */
export function keepLoaded({ path, name, query = () => ({}), table, note, signal, shell, onRows }) {
  let size = 0;
  let isFirst = true;
  let run = 0; // a later one, with other filters, wins

  async function load() {
    run += 1;
    const mine = run;
    const show = (rows, total) => {
      if (mine === run && isFirst) table.set([...rows], { total, isLoading: rows.length < total });
    };
    const { rows, total, isCut, unreachable } = await loadAll(path, name, query(), signal, show);
    if (mine !== run) return;
    isFirst = false;
    size = rows.length;
    table.set(rows, { total, isCut });
    fill(note, missing(unreachable));
    onRows?.(rows, total);
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
  return () => {
    isFirst = true;
    again();
    setTimeout(again, SETTLED_MS); // what an action closes is listed until its peer has answered
  };
}
