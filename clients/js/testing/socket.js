/** The client's end of a connection to the server in memory; what is sent arrives in the next microtask. */

export const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

export class FakeWebSocket {
  readyState = CONNECTING;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  received = () => {};
  closed = () => {};

  send(text) {
    if (this.readyState === CONNECTING) throw new DOMException("connecting", "InvalidStateError");
    queueMicrotask(() => this.readyState === OPEN && this.received(text));
  }

  close(code = 1005, reason = "") {
    if (this.readyState === CLOSED) return;
    queueMicrotask(() => {
      this.closed();
      this.end(code, reason);
    });
  }

  // The server's end

  open() {
    this.readyState = OPEN;
    this.onopen?.({ type: "open" });
  }

  deliver(text) {
    queueMicrotask(() => this.readyState === OPEN && this.onmessage?.({ data: text }));
  }

  end(code, reason) {
    if (this.readyState === CLOSED) return;
    queueMicrotask(() => {
      if (this.readyState === CLOSED) return;
      this.readyState = CLOSED;
      this.onclose?.({ code, reason, wasClean: code !== 1006 });
    });
  }
}
