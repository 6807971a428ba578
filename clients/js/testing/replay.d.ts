/** Plays a recording of `wsctl record` to clients in unit tests. */

import type { CustomPush, Pushes, WebSocketClass, WsClient, WsClientOptions } from "../src/index.js";

/** What `wsctl record` writes, parsed; only what is played of it. */
export interface Recording {
  kind: string;
  format: number;
  connections: readonly { connection_id: string; user_id: string; opened_at: string }[];
  events: readonly {
    at: string;
    /** As the client sees it: `in`, `out`, or `client` for its connection. */
    dir: string;
    connection: string;
    type: string | null;
    frame?: Record<string, unknown>;
    code?: number;
    reason?: string;
  }[];
}

/** Any push, as it was recorded. */
export type RecordedPush = Pushes[keyof Pushes] | CustomPush;

export class WsReplay {
  /** `user`: whose side is played; default: that of the first connection. */
  constructor(recording: Recording, options?: { user?: string });

  /** Every command that the client has sent, in order, without its `ref`. */
  commands: { type: string; [field: string]: unknown }[];
  /** The user whose side is played. */
  readonly user: string;
  /** How many pushes and closes are still to be played. */
  readonly left: number;
  /** A class for the option `WebSocket` of a client that your application makes itself. */
  readonly WebSocket: WebSocketClass;

  /** A client of the recorded user, which reconnects and acknowledges without waiting. */
  client(options?: WsClientOptions): WsClient;
  /** Play the next pushes and closes, and wait until they have arrived. Returns the last push. */
  step(count?: number): Promise<RecordedPush | null>;
  /** Play up to the next push of a type, or for which the function is true; null: there is none. */
  until<T extends keyof Pushes>(type: T): Promise<Pushes[T] | null>;
  until(wanted: string | ((push: RecordedPush) => boolean)): Promise<RecordedPush | null>;
  /** Play all that is left: at once, or with a speed; 1 is as it was. */
  play(options?: { speed?: number }): Promise<void>;
}
