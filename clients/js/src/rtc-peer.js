/**
 * The media of a call: an `RTCPeerConnection` by perfect negotiation. Both sides may offer at any time;
 * of two offers at once, that of the polite side is taken back.
 */

export class Peer {
  #pc;
  #isPolite;
  #stream;
  #send;
  #remote = new MediaStream();
  #isMakingOffer = false;
  #isClosed = false;
  #chain = Promise.resolve(); // what comes is taken in its order

  /**
   * @param {object} options
   * @param {boolean} options.isPolite
   * @param {RTCIceServer[]} options.servers
   * @param {MediaStream} options.stream what is sent
   * @param {(content: object) => void} options.send sends a description or a candidate
   * @param {() => void} options.changed the state or the tracks are others
   */
  constructor({ isPolite, servers, stream, send, changed }) {
    this.#isPolite = isPolite;
    this.#stream = stream;
    this.#send = send;
    const pc = (this.#pc = new RTCPeerConnection({ iceServers: servers }));
    pc.onnegotiationneeded = () => this.#offer();
    pc.onicecandidate = ({ candidate }) => send({ candidate: candidate?.toJSON() ?? null });
    pc.onconnectionstatechange = changed;
    pc.ontrack = ({ track }) => {
      this.#remote.addTrack(track);
      track.onmute = track.onunmute = changed;
      track.onended = () => {
        this.#remote.removeTrack(track);
        changed();
      };
      changed();
    };
    if (!isPolite) this.#addTracks(); // the other adds its own when it has the offer
  }

  get connection() {
    return this.#pc;
  }

  get remote() {
    return this.#remote;
  }

  /** Take a signal of the other side. */
  take(signal) {
    return this.#next(() =>
      signal.description === undefined
        ? this.#candidate(signal.candidate)
        : this.#description(signal.description),
    );
  }

  /** Find new ways to the other side, as after a change of network or of its connection. */
  restart(servers) {
    return this.#next(async () => {
      const pc = this.#pc;
      if (servers) pc.setConfiguration({ iceServers: servers });
      // An offer without an answer was lost, or its answer was.
      if (pc.signalingState === "have-local-offer") {
        await pc.setLocalDescription({ type: "rollback" });
      }
      pc.restartIce();
    });
  }

  close() {
    this.#isClosed = true;
    this.#pc.onnegotiationneeded = this.#pc.onicecandidate = this.#pc.onconnectionstatechange = null;
    this.#pc.close();
  }

  #next(action) {
    this.#chain = this.#chain.then(() => (this.#isClosed ? null : action())).catch((error) => {
      if (!this.#isClosed) globalThis.reportError?.(error);
    });
    return this.#chain;
  }

  async #offer() {
    const pc = this.#pc;
    this.#isMakingOffer = true;
    try {
      await pc.setLocalDescription();
      if (pc.localDescription.type === "offer") this.#send({ description: pc.localDescription });
    } catch (error) {
      if (!this.#isClosed) globalThis.reportError?.(error);
    } finally {
      this.#isMakingOffer = false;
    }
  }

  async #description(description) {
    const pc = this.#pc;
    const isOffer = description.type === "offer";
    if (isOffer && !this.#isPolite && (this.#isMakingOffer || pc.signalingState !== "stable")) {
      return; // the other side takes its offer back
    }
    if (!isOffer && pc.signalingState !== "have-local-offer") return; // to an offer taken back
    await pc.setRemoteDescription(description);
    if (!isOffer) return;
    this.#addTracks();
    await pc.setLocalDescription();
    this.#send({ description: pc.localDescription });
  }

  async #candidate(candidate) {
    try {
      await this.#pc.addIceCandidate(candidate ?? undefined);
    } catch {
      // It belongs to a description that was not taken, or was replaced.
    }
  }

  #addTracks() {
    if (this.#stream === null) return;
    for (const track of this.#stream.getTracks()) this.#pc.addTrack(track, this.#stream);
    this.#stream = null;
  }
}
