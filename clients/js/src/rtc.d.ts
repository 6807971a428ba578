/** Audio and video calls of a `WsClient`. */

import type { WsClient } from "./index.js";
import type { CallParty, CallView } from "./protocol.js";

export interface RtcCallsOptions {
  /** Default: camera and microphone of the browser. */
  getMedia?: (wanted: { audio: boolean; video: boolean }) => Promise<MediaStream>;
  /** How long media may be missing until the call ends: 30,000. */
  giveUpMs?: number;
}

export interface CallMedia {
  audio?: boolean;
  video?: boolean;
}

/** `detail` of the events of `RtcCalls`: somebody calls; a call of this page is over. */
export interface RtcCallsEvents {
  incoming: { call: RtcCall };
  ended: { call: RtcCall };
}

/** Names that complete in an editor; there are no others. */
export type RtcCallsEventName = keyof RtcCallsEvents | (string & {});

type DetailOf<T extends string> = T extends keyof RtcCallsEvents ? RtcCallsEvents[T] : null;

/** A handler of an event of `RtcCalls`. */
export type RtcCallsListener<T extends string> =
  | ((event: CustomEvent<DetailOf<T>>) => void)
  | { handleEvent(event: CustomEvent<DetailOf<T>>): void };

/** The calls of a client. */
export class RtcCalls extends EventTarget {
  constructor(client: WsClient, options?: RtcCallsOptions);

  /** Those that ring or go on, on this page. */
  readonly calls: RtcCall[];

  /** Call the others in a session that the client has joined; by default without video. */
  start(sessionId: string, media?: CallMedia): Promise<RtcCall>;
  /** Hang up, and listen no more. */
  close(): void;

  addEventListener<T extends RtcCallsEventName>(
    type: T,
    listener: RtcCallsListener<T> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<T extends RtcCallsEventName>(
    type: T,
    listener: RtcCallsListener<T> | null,
    options?: EventListenerOptions | boolean,
  ): void;
}

/** A call on this page, made by `RtcCalls`. Its event is `change`. */
export class RtcCall extends EventTarget {
  private constructor();

  readonly id: string;
  readonly sessionId: string;
  readonly state: CallView["state"];
  /** Why it has ended, if something was said. */
  readonly reason: string | null;
  /** What the caller wanted. */
  readonly media: CallView["media"];
  /** Does somebody else call? */
  readonly isIncoming: boolean;
  /** Is this page the device in the call? Not where it only rings, or was answered elsewhere. */
  readonly isHere: boolean;
  /** The other side; null: nobody has answered yet. */
  readonly peer: CallParty | null;
  readonly localStream: MediaStream | null;
  readonly remoteStream: MediaStream | null;
  /** Tracks may be added to it and removed at any time. */
  readonly connection: RTCPeerConnection | null;
  readonly mediaState: RTCPeerConnectionState;
  readonly answeredAt: Date | null;

  /** Answer on this page; rejects with `bad_call_state` if another device was first. */
  answer(media?: CallMedia): Promise<void>;
  /** Decline, on all devices of the user. */
  decline(reason?: string): void;
  /** End the call, whatever its state is. */
  hangUp(reason?: string): void;
  isMuted(kind: "audio" | "video"): boolean;
  /** Silence the tracks of a kind, or let them go again. */
  mute(kind: "audio" | "video", isMuted?: boolean): void;
}
