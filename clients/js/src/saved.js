/**
 * Positions that outlive the page, in a `Storage`: each stream under a key of its own, so that a
 * message writes what it changes and no more, and one key with the names of all.
 */

const STREAMS = 1000; // as many as a connection may have joined sessions; the oldest go first

export class Saved {
  #storage;
  #root;
  #names = new Set();
  #userId = null;

  /**
   * @param {Pick<Storage, "getItem" | "setItem" | "removeItem">} storage
   * @param {string} url
   */
  constructor(storage, url) {
    this.#storage = storage;
    this.#root = `wsserver:${url}`;
  }

  /** What was saved for this user, as `[name, position]`; another user's is removed. */
  load(userId) {
    const index = JSON.parse(this.#storage.getItem(this.#root) ?? "null");
    const names = index?.names ?? [];
    this.#userId = userId;
    this.#names.clear();
    if (index?.user_id !== userId) {
      for (const name of names) this.#storage.removeItem(this.#key(name));
      return [];
    }
    if (index.streams) return index.streams; // by the first version, all in one
    const found = [];
    for (const name of names) {
      const text = this.#storage.getItem(this.#key(name));
      if (text === null) continue;
      this.#names.add(name);
      found.push([name, JSON.parse(text)]);
    }
    return found;
  }

  /** Write one position; null: forget it. */
  set(name, position) {
    const isKnown = this.#names.has(name);
    if (position === null) {
      this.#storage.removeItem(this.#key(name));
      if (this.#names.delete(name)) this.#index();
      return;
    }
    this.#storage.setItem(this.#key(name), JSON.stringify(position));
    if (isKnown) return;
    this.#names.add(name);
    if (this.#names.size > STREAMS) {
      const [oldest] = this.#names;
      this.#names.delete(oldest);
      this.#storage.removeItem(this.#key(oldest));
    }
    this.#index();
  }

  #index() {
    const index = { user_id: this.#userId, names: [...this.#names] };
    this.#storage.setItem(this.#root, JSON.stringify(index));
  }

  #key(name) {
    return `${this.#root} ${name}`;
  }
}
