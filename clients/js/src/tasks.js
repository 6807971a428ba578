/**
 * The tasks of a client's user. A module of its own, for pages that show tasks:
 *
 *   import { Tasks } from "@wsserver/client/tasks"; // or "/static/client/tasks.js"
 *
 *   const tasks = new Tasks(client);
 *   tasks.addEventListener("change", ({ detail: { task } }) => show(task));
 *   await tasks.update("task_1", { state: "running" });
 */

const HELD = 1000; // a page may stay open for weeks

/** Tasks as far as this page has heard of them, those that have changed last; event `change`, with `{task, changed, by}`. */
export class Tasks extends EventTarget {
  #client;
  #tasks = new Map(); // task id -> task
  #listening = new AbortController();

  /** @param {EventTarget} client a `WsClient` */
  constructor(client) {
    super();
    this.#client = client;
    const { signal } = this.#listening;
    client.addEventListener(
      "task_update",
      ({ detail: { task, changed, by } }) => this.#take(task, changed, by),
      { signal },
    );
  }

  /** Those that were read, changed or told of, the latest change first. */
  get tasks() {
    return [...this.#tasks.values()].sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  }

  /** @param {string} taskId */
  get(taskId) {
    return this.#tasks.get(taskId) ?? null;
  }

  /**
   * Read a task.
   *
   * @param {string} taskId
   */
  read(taskId) {
    return this.update(taskId);
  }

  /**
   * Change a task as its assignee; resolves with the task after the change. Rejects with
   * `version_changed`, `bad_transition`, `forbidden`.
   *
   * @param {string} taskId
   * @param {object} [change] `state`, `step`, `progress`, `note`, `expected_version`
   */
  async update(taskId, change = {}) {
    const { task } = await this.#client.command("task", { ...change, task_id: taskId });
    this.#take(task, Object.keys(change), null);
    return task;
  }

  /** Listen no more. */
  close() {
    this.#listening.abort();
  }

  /** Of two versions the higher one counts: they may come in any order, and twice. */
  #take(task, changed, by) {
    if (task.version <= (this.#tasks.get(task.task_id)?.version ?? 0)) return;
    this.#tasks.delete(task.task_id);
    this.#tasks.set(task.task_id, task);
    if (this.#tasks.size > HELD) this.#tasks.delete(this.#tasks.keys().next().value);
    this.dispatchEvent(new CustomEvent("change", { detail: { task, changed, by } }));
  }
}
