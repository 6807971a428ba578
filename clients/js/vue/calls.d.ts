/** Calls for Vue 3. */

import type { ComputedRef, Ref, ShallowRef } from "vue";

import type { WsClient } from "../src/index.js";
import type { CallMedia, RtcCall, RtcCallsOptions } from "../src/rtc.js";
import type { WsComponent } from "./components/index.js";

/** The calls of a client, as reactive state. */
export interface Calls {
  /** The call of this page, else one that rings here. */
  call: ComputedRef<RtcCall | null>;
  /** Others that ring. */
  waiting: ComputedRef<RtcCall[]>;
  /** The one that ended last, until `forget` or the next one. */
  last: ShallowRef<RtcCall | null>;
  /** Why none came about. */
  error: ShallowRef<Error | null>;
  /** The browser asks for camera and microphone. */
  isAsking: Ref<boolean>;
  /** In a render or a `computed`: do it again when something about a call has changed. */
  follow(): number;
  /** Call the others in a joined session; null: see `error`. */
  start(sessionId: string, media?: CallMedia): Promise<RtcCall | null>;
  /** Answer a call, and end the one that goes on; null: see `error`. */
  answer(call: RtcCall, media?: CallMedia): Promise<RtcCall | null>;
  forget(): void;
}

/**
 * The calls of a client. As long as a component uses it, the page rings; when the last one is gone, it
 * hangs up. The first component that uses it sets the options.
 */
export function useCalls(options?: RtcCallsOptions & { client?: WsClient }): Calls;

/** Buttons to begin a call, and the window of one that rings or goes on. */
export const WsCall: WsComponent<
  {
    /** The session to call in; without it the component only rings. */
    sessionId?: string | null;
    /** What `useCalls` gave; default: its own. */
    calls?: Calls | null;
    /** Offer calls with video, too: true. */
    video?: boolean;
    /** Somebody calls: the page may make a sound. */
    onIncoming?: (call: RtcCall) => void;
    onEnded?: (call: RtcCall) => void;
  },
  {
    /** In place of the buttons that begin a call. */
    default: (given: {
      start(video?: boolean): Promise<RtcCall | null>;
      disabled: boolean;
    }) => unknown;
    /** In place of the buttons of a call. */
    controls: (given: { call: RtcCall }) => unknown;
  }
>;

/** Names of the texts of `WsCall`. */
export type CallTextName =
  | "calls"
  | "audioCall"
  | "videoCall"
  | "incomingAudio"
  | "incomingVideo"
  | "answer"
  | "answerInstead"
  | "answerAudio"
  | "decline"
  | "cancelCall"
  | "hangUp"
  | "muteMicrophone"
  | "stopCamera"
  | "myPicture"
  | "pictureOf"
  | "theOther"
  | "asking"
  | "calling"
  | "connectingMedia"
  | "searching"
  | "peerAway"
  | "duration"
  | "callEnded"
  | "callDeclined"
  | "callBusy"
  | "callUnanswered"
  | "callMissed"
  | "callElsewhere"
  | "callLost"
  | "callUnreachable"
  | "callGoesOn"
  | "callNobody"
  | "callTooOften"
  | "callForbidden"
  | "callNoMedia"
  | "callFailed";
