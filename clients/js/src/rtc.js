/**
 * Audio and video calls: WebRTC between two devices, signalled by the server. A module of its own,
 * for pages that call:
 *
 *   import { RtcCalls } from "@wsserver/client/calls"; // or "/static/client/rtc.js"
 *
 *   const calls = new RtcCalls(client);
 *   calls.addEventListener("incoming", ({ detail: { call } }) => ask(call));
 *   const call = await calls.start("s1", { video: true });
 *   call.addEventListener("change", () => (video.srcObject = call.remoteStream));
 *   call.hangUp();
 */

import { DISCONNECTED, RATE_LIMITED, TIMEOUT, WsError, pauseAfter } from "./errors.js";
import { Peer } from "./rtc-peer.js";

const OPEN = new Set(["ringing", "answered"]);
const CLOSED = "page_closed";
/** How long a device that rings waits after a reconnect to hear that it still does. */
const CONFIRM_MS = 3000;
const GIVE_UP_MS = 30_000;
/** Media that are disconnected this long are looked for anew; before, they often come back. */
const RETRY_MS = 4000;

/** The calls of a client; events `incoming` and `ended`, with `{call}`. */
export class RtcCalls extends EventTarget {
  #client;
  #options;
  #calls = new Map(); // call id -> {call, hear}
  #starting = 0;
  #early = new Map(); // call id -> push about a call whose reply has not come yet
  #listening = new AbortController();

  /**
   * @param {EventTarget} client a `WsClient`
   * @param {object} [options]
   * @param {(wanted: {audio: boolean, video: boolean}) => Promise<MediaStream>} [options.getMedia]
   *   default: camera and microphone of the browser
   * @param {number} [options.giveUpMs] how long media may be missing until the call ends: 30,000
   */
  constructor(client, options = {}) {
    super();
    this.#client = client;
    this.#options = {
      getMedia: (wanted) => navigator.mediaDevices.getUserMedia(wanted),
      giveUpMs: GIVE_UP_MS,
      ...options,
    };
    const { signal } = this.#listening;
    const on = (name, listener) =>
      client.addEventListener(name, ({ detail }) => listener(detail), { signal });
    on("call_incoming", (push) => this.#incoming(push));
    on("call_state", (push) => this.#state(push));
    on("call_signal", (push) => this.#calls.get(push.call_id)?.hear.signal(push));
    on("ws:open", () => [...this.#calls.values()].forEach(({ hear }) => hear.reconnected()));
    globalThis.addEventListener?.("pagehide", () => this.#leave(), { signal });
  }

  /** The calls that ring or go on, on this page. */
  get calls() {
    return [...this.#calls.values()].map(({ call }) => call);
  }

  /**
   * Call the others in a session that the client has joined. Resolves when it rings.
   *
   * @param {string} sessionId
   * @param {{audio?: boolean, video?: boolean}} [media] audio alone by default
   */
  async start(sessionId, { audio = true, video = false } = {}) {
    const stream = await this.#options.getMedia({ audio, video });
    this.#starting++;
    try {
      this.#requireOpen(); // the user may have left while the browser asked for the camera
      const media = [audio && "audio", video && "video"].filter(Boolean);
      const reply = await this.#client.command("call", { session_id: sessionId, media });
      const call = this.#add(reply.call, stream, reply.ice_servers);
      const early = this.#early.get(call.id);
      if (early) this.#state(early);
      if (this.#isClosed) call.hangUp(CLOSED);
      this.#requireOpen();
      return call;
    } catch (error) {
      stop(stream);
      throw error;
    } finally {
      if (--this.#starting === 0) this.#early.clear();
    }
  }

  /** Hang up, and listen no more. */
  close() {
    this.#listening.abort();
    this.#leave();
    for (const { hear } of [...this.#calls.values()]) hear.closed();
  }

  get #isClosed() {
    return this.#listening.signal.aborted;
  }

  #requireOpen() {
    if (this.#isClosed) throw new WsError({ code: "cancelled", message: "the page calls no more" });
  }

  #leave() {
    for (const call of this.calls) if (call.isHere) call.hangUp(CLOSED);
  }

  #state(push) {
    const known = this.#calls.get(push.call_id);
    if (known) known.hear.state(push);
    else if (this.#starting > 0) this.#early.set(push.call_id, push);
  }

  #incoming(push) {
    const known = this.#calls.get(push.call_id);
    if (known) known.hear.state(push);
    else this.#tell("incoming", this.#add(push));
  }

  #add(view, stream = null, servers = []) {
    let hear;
    const call = new RtcCall({
      client: this.#client,
      options: this.#options,
      view,
      stream,
      servers,
      hears: (how) => (hear = how),
      over: () => {
        this.#calls.delete(call.id);
        this.#tell("ended", call);
      },
    });
    this.#calls.set(call.id, { call, hear });
    return call;
  }

  #tell(name, call) {
    this.dispatchEvent(new CustomEvent(name, { detail: { call } }));
  }
}

/** A call on this page, made by `RtcCalls`; its event is `change`. */
export class RtcCall extends EventTarget {
  #client;
  #options;
  #view; // as the server has told it last
  #over;
  #isIncoming;
  #isHere; // this page is the device in the call
  #local;
  #servers;
  #peer = null;
  #early = []; // signals before there is a peer
  #sending = Promise.resolve(); // signals go one after the other
  #timer;
  #givingUp;
  #isOver = false;

  constructor({ client, options, view, stream, servers, hears, over }) {
    super();
    this.#client = client;
    this.#options = options;
    this.#view = view;
    this.#local = stream;
    this.#servers = servers;
    this.#over = over;
    this.#isHere = stream !== null;
    this.#isIncoming = stream === null;
    hears({
      state: (push) => this.#hear(push),
      signal: (push) => this.#take(push),
      reconnected: () => this.#reconnected(),
      closed: () => this.#end(this.state, null), // it rings elsewhere
    });
    if (this.#isIncoming) this.#ringFor(Date.parse(view.rings_until) - Date.parse(view.created_at));
  }

  get id() {
    return this.#view.call_id;
  }

  get sessionId() {
    return this.#view.session_id;
  }

  /** `ringing`, `answered`, `declined`, `missed` or `ended`. */
  get state() {
    return this.#view.state;
  }

  /** Why it has ended, if something was said. */
  get reason() {
    return this.#view.reason;
  }

  /** What the caller wanted: `audio`, `video`. */
  get media() {
    return this.#view.media;
  }

  /** Does somebody else call? */
  get isIncoming() {
    return this.#isIncoming;
  }

  /** Is this page the device in the call? Not where it only rings, or was answered elsewhere. */
  get isHere() {
    return this.#isHere && !this.#isOver;
  }

  /** The other side: `user_id`, `username`, `connection_id`, `connected`; null: no one has answered yet. */
  get peer() {
    return this.#isIncoming ? this.#view.caller : this.#view.callee;
  }

  /** Camera and microphone of this page, or null. */
  get localStream() {
    return this.#local;
  }

  /** What comes from the other side, or null. */
  get remoteStream() {
    return this.#peer?.remote ?? null;
  }

  /** The `RTCPeerConnection`, or null. Tracks may be added and removed at any time. */
  get connection() {
    return this.#peer?.connection ?? null;
  }

  /** `new`, `connecting`, `connected`, `disconnected`, `failed` or `closed`. */
  get mediaState() {
    return this.#isOver ? "closed" : (this.connection?.connectionState ?? "new");
  }

  /** When it was answered, as a `Date`, or null. */
  get answeredAt() {
    return this.#view.answered_at === null ? null : new Date(this.#view.answered_at);
  }

  /**
   * Answer on this page. Rejects with `bad_call_state` if another device was first.
   *
   * @param {{audio?: boolean, video?: boolean}} [media] default: what the caller wanted
   */
  async answer({ audio = true, video = this.media.includes("video") } = {}) {
    const stream = await this.#options.getMedia({ audio, video });
    try {
      this.#require();
      this.#isHere = true; // this device answers; the reply or the push may come first
      this.#local = stream;
      const reply = await this.#client.command("call_answer", { call_id: this.id });
      if (this.#isOver) this.#client.command("call_end", { call_id: this.id }).catch(() => {});
      this.#require();
      this.#servers = reply.ice_servers;
      this.#hear(reply.call, true);
    } catch (error) {
      stop(stream);
      this.#local = null;
      this.#isHere = false;
      if (error.code === "bad_call_state" && !this.#isOver) this.#end("ended", null);
      throw error;
    }
  }

  /**
   * Decline, on all devices of the user.
   *
   * @param {string} [reason]
   */
  decline(reason) {
    this.#leave("call_decline", "declined", reason);
  }

  /**
   * End the call, whatever its state is.
   *
   * @param {string} [reason]
   */
  hangUp(reason) {
    if (this.#isIncoming && this.state === "ringing" && !this.#isHere) this.decline(reason);
    else this.#leave(this.#isIncoming ? "call_end" : this.#verb, "ended", reason);
  }

  /**
   * Are all tracks of a kind silenced, or is there none?
   *
   * @param {"audio" | "video"} kind
   */
  isMuted(kind) {
    return this.#tracks(kind).every(({ enabled }) => !enabled);
  }

  /**
   * Silence the tracks of a kind, or let them go again.
   *
   * @param {"audio" | "video"} kind
   * @param {boolean} [isMuted]
   */
  mute(kind, isMuted = true) {
    for (const track of this.#tracks(kind)) track.enabled = !isMuted;
    this.#changed();
  }

  #tracks(kind) {
    return (this.#local?.getTracks() ?? []).filter((track) => track.kind === kind);
  }

  get #verb() {
    return this.state === "ringing" ? "call_cancel" : "call_end";
  }

  // What the server tells

  #hear(view, isReply = false) {
    if (this.#isOver) return;
    const before = this.#view;
    if (OPEN.has(view.state)) this.#view = view;
    if (!OPEN.has(view.state)) {
      this.#end(view.state, view.reason);
    } else if (view.state === "answered" && (!this.#isHere || this.#isElsewhere)) {
      this.#end("answered", null); // on another device, or another page of this one
    } else if (view.state === "answered" && (isReply || !this.#isIncoming)) {
      this.#answered(before);
    } else {
      this.#changed();
    }
  }

  /** Has another device taken this one's place? */
  get #isElsewhere() {
    const { caller, callee, by } = this.#view;
    const ours = this.#isIncoming ? callee : caller;
    const own = this.#client.connection;
    return by === own?.user_id && ours.connected && ours.connection_id !== own.connection_id;
  }

  /** It is answered, or one of the devices has come back. */
  #answered(before) {
    clearTimeout(this.#timer);
    const peer = this.peer;
    if (this.#peer === null) {
      this.#connect();
    } else if (peer.connected && (!before.callee || !sameDevice(before, this.#view))) {
      // Signals to and from a device that was away are lost: the impolite side offers again.
      if (!this.#isIncoming) this.#peer.restart(this.#servers);
    }
    this.#changed();
  }

  #connect() {
    this.#peer = new Peer({
      isPolite: this.#isIncoming,
      servers: this.#servers,
      stream: this.#local,
      send: (content) => this.#signal(content),
      changed: () => this.#mediaChanged(),
    });
    for (const push of this.#early.splice(0)) this.#peer.take(push);
    this.#mediaChanged();
  }

  async #reconnected() {
    if (!this.#isHere) {
      this.#ringFor(0); // it rings again if it still does
      return;
    }
    try {
      const reply = await this.#client.command("call_resume", { call_id: this.id });
      this.#servers = reply.ice_servers;
      this.#hear(reply.call, true);
    } catch (error) {
      this.#refused(error);
    }
  }

  /** How long this page rings, unless a push ends it earlier. */
  #ringFor(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end("missed", null), ms + CONFIRM_MS);
  }

  // Signals and media

  #take(push) {
    if (!this.isHere) return;
    if (this.#peer) this.#peer.take(push);
    else this.#early.push(push);
  }

  #signal(content) {
    this.#sending = this.#sending.then(() => this.#send(content));
  }

  async #send(content) {
    for (let attempt = 0; this.isHere; attempt++) {
      try {
        return await this.#client.command("call_signal", { call_id: this.id, ...content });
      } catch (error) {
        if (error.code !== RATE_LIMITED) return this.#refused(error);
        await pauseAfter(error, attempt);
      }
    }
    return null;
  }

  /** A command has failed: without a connection it is made up for after the next one. */
  #refused(error) {
    if (error.code === DISCONNECTED || error.code === TIMEOUT || error.temporary) return;
    this.#end("ended", error.code);
  }

  #mediaChanged() {
    const state = this.mediaState;
    if (state === "connected") {
      clearTimeout(this.#givingUp);
      clearTimeout(this.#timer);
      this.#givingUp = undefined;
    } else {
      this.#givingUp ??= setTimeout(() => this.hangUp("media_failed"), this.#options.giveUpMs);
      clearTimeout(this.#timer);
      // One side is earlier: it is rarely needed that both look for new ways.
      const wait = this.#isIncoming ? RETRY_MS : 0;
      if (state === "failed") this.#retryIn(wait);
      if (state === "disconnected") this.#retryIn(wait + RETRY_MS);
    }
    this.#changed();
  }

  #retryIn(ms) {
    this.#timer = setTimeout(() => this.#retry(), ms);
  }

  async #retry() {
    try {
      const reply = await this.#client.command("ice_servers");
      this.#servers = reply.ice_servers;
    } catch {
      // The former servers may do.
    }
    if (this.isHere) await this.#peer?.restart(this.#servers);
  }

  // The end

  #leave(command, state, reason) {
    if (this.#isOver) return;
    this.#client
      .command(command, { call_id: this.id, reason })
      .catch((error) => {
        // It was answered at this moment.
        if (error.code !== "bad_call_state" || error.details.state !== "answered") return null;
        return this.#client.command("call_end", { call_id: this.id, reason });
      })
      .catch(() => {}); // the server ends it when this device does not come back
    this.#end(state, reason ?? null);
  }

  #end(state, reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#view = { ...this.#view, state, reason };
    clearTimeout(this.#timer);
    clearTimeout(this.#givingUp);
    this.#peer?.close();
    if (this.#local) stop(this.#local);
    this.#changed();
    this.#over();
  }

  #require() {
    if (!this.#isOver) return;
    const message = `the call is ${this.state}`;
    throw new WsError({ code: "bad_call_state", message, state: this.state });
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

/** Do two views of a call have the same devices, all of them connected? */
function sameDevice(before, after) {
  return ["caller", "callee"].every(
    (who) =>
      before[who].connection_id === after[who].connection_id &&
      before[who].connected === after[who].connected,
  );
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
