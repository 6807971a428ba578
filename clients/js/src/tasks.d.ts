/** The tasks of a `WsClient`'s user. */

import type { WsClient } from "./index.js";
import type { TaskView, UpdateTaskCommand } from "./protocol.js";

/** What to change; what is left out stays as it is. */
export type TaskChange = Omit<UpdateTaskCommand, "task_id">;

/** `detail` of the event of `Tasks`. */
export interface TasksEvents {
  change: {
    task: TaskView;
    /** Names of fields. */
    changed: string[];
    /** A user id; null: the server, or this page. */
    by: string | null;
  };
}

/** Names that complete in an editor; there are no others. */
export type TasksEventName = keyof TasksEvents | (string & {});

type DetailOf<T extends string> = T extends keyof TasksEvents ? TasksEvents[T] : null;

/** A handler of an event of `Tasks`. */
export type TasksListener<T extends string> =
  | ((event: CustomEvent<DetailOf<T>>) => void)
  | { handleEvent(event: CustomEvent<DetailOf<T>>): void };

/** Tasks as far as this page has heard of them: the 1,000 that have changed last. */
export class Tasks extends EventTarget {
  constructor(client: WsClient);

  /** Those that were read, changed or told of, the latest change first. */
  readonly tasks: TaskView[];

  get(taskId: string): TaskView | null;
  read(taskId: string): Promise<TaskView>;
  /** Change a task as its assignee; rejects with `version_changed`, `bad_transition`, `forbidden`. */
  update(taskId: string, change?: TaskChange): Promise<TaskView>;
  /** Listen no more. */
  close(): void;

  addEventListener<T extends TasksEventName>(
    type: T,
    listener: TasksListener<T> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<T extends TasksEventName>(
    type: T,
    listener: TasksListener<T> | null,
    options?: EventListenerOptions | boolean,
  ): void;
}
