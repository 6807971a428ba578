/**
 * Which rows of a long list are in view. Rows have different heights, which are known once they have
 * been shown; until then one is assumed. Decides only: it knows no elements.
 */

const FIRST_GUESS = 64;
const MEASURED = 30; // rows, after which the guess is not changed any more: every change moves all

export class RowWindow {
  #keys = [];
  #heights = new Map(); // key -> pixels
  #tops = [0]; // of each row, and at last the height of all
  #guess = FIRST_GUESS;
  #sum = 0;
  #measured = 0;

  get count() {
    return this.#keys.length;
  }

  /** The height of all rows. */
  get height() {
    return this.#tops[this.#keys.length];
  }

  top(index) {
    return this.#tops[index];
  }

  key(index) {
    return this.#keys[index];
  }

  /** These are the rows now. */
  setKeys(keys) {
    this.#keys = keys;
    if (this.#heights.size > 2 * keys.length + 1000) {
      const known = new Set(keys);
      for (const key of this.#heights.keys()) if (!known.has(key)) this.#heights.delete(key);
    }
    this.#layOut();
  }

  /** Heights of rows, as `[key, pixels]`; true: some are others than were known. */
  measure(rows) {
    let isChanged = false;
    for (const [key, height] of rows) {
      const known = this.#heights.get(key);
      if (known !== undefined && Math.abs(known - height) < 0.5) continue;
      isChanged = true;
      this.#heights.set(key, height);
      if (known === undefined && this.#measured < MEASURED) {
        this.#sum += height;
        this.#measured += 1;
        this.#guess = this.#sum / this.#measured;
      }
    }
    if (isChanged) this.#layOut();
    return isChanged;
  }

  /** The width is another one: nothing that was measured holds. */
  forget() {
    this.#heights.clear();
    this.#sum = this.#measured = 0;
    this.#layOut();
  }

  /** The row at a height; the last one below all. */
  at(y) {
    let low = 0;
    let high = this.#keys.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(low, 0);
  }

  /** `[start, end)`: the rows between two heights. */
  range(from, to) {
    if (this.#keys.length === 0) return [0, 0];
    return [this.at(from), this.at(to) + 1];
  }

  /** The index of a row: searched for from where it was, as rows come at both ends. */
  indexOf(key, near) {
    const last = this.#keys.length - 1;
    for (let distance = 0; distance <= this.#keys.length; distance++) {
      if (this.#keys[Math.min(near + distance, last)] === key)
        return Math.min(near + distance, last);
      if (this.#keys[Math.max(near - distance, 0)] === key) return Math.max(near - distance, 0);
    }
    return -1;
  }

  #layOut() {
    const tops = [0];
    let top = 0;
    for (const key of this.#keys) tops.push((top += this.#heights.get(key) ?? this.#guess));
    this.#tops = tops;
  }
}
