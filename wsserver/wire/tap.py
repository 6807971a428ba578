"""``Tap``: observes, and may disturb, what goes over one connection.

Inserted between a transport, its poller and its owner, by replacing what these refer to:
connections without a tap take the same path as if there were none.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from wsserver.clock import Clock
from wsserver.wire.carrier import Carrier
from wsserver.wire.events import build_event
from wsserver.wire.frames import INTERNAL_ERROR, SLOW_CONSUMER
from wsserver.wire.interfaces import OwnerOf
from wsserver.wire.readiness import Loop
from wsserver.wire.transport import OPEN, Owner, Transport

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Callbacks for what goes over a connection; none of them may block."""

    def sent(self, data: bytes) -> None:
        """Bytes to the peer: one or more whole frames, or events of an event stream."""

    def received(self, payload: bytes) -> None:
        """A text message of the peer."""

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The end of the connection, as for its owner."""


@dataclass(frozen=True)
class Disturbance:
    """A bad network between the server and a client."""

    delay_s: float = 0.0
    """How much later everything arrives, in each direction."""
    jitter_s: float = 0.0
    """Up to so much later still, at random; the order stays."""
    drop: float = 0.0
    """The share of messages that get lost, 0 to 1."""
    bytes_per_s: float = 0.0
    """How fast the client reads; 0: as fast as it can."""
    cut_every_s: float = 0.0
    """The connection breaks off so long after it was opened or disturbed; 0: never."""
    to_client: bool = True
    from_client: bool = True
    """The directions in which messages are delayed and get lost."""


CALM: Final = Disturbance()


class _AlwaysIn:
    """Stands for a cork that is always in: the transport passes every frame to its backend."""

    is_in: Final = True


_CORKED: Final = _AlwaysIn()


class Tap(OwnerOf[Transport]):
    """Backend and owner of one transport, in front of its real ones.

    ``limit_bytes`` may be held back by a disturbance, in each direction; the connection of a client
    that is slower is closed with 4002. ``on_close`` is called when the connection has ended.
    """

    def __init__(
        self,
        transport: Transport,
        carrier: Carrier,
        loop: Loop,
        clock: Clock,
        limit_bytes: int,
        on_close: Callable[[Transport], None],
    ) -> None:
        assert transport.owner is not None  # noqa: S101 - ``Poller.tap`` taps open connections
        self._transport = transport
        self._carrier = carrier
        self._loop = loop
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._on_close = on_close
        self._owner: Owner = transport.owner
        self._observers: list[Observer] = []
        self._disturbance = CALM
        self._out = _Held(self._write)
        self._in = _Held(self._deliver)
        self._cut_timer: Any = None
        transport._backend = self
        transport.owner = self

    # For those who tap

    @property
    def is_idle(self) -> bool:
        """Whether nothing observes or disturbs the connection: the tap may be removed."""
        return not self._observers and self._disturbance is CALM

    def observe(self, observer: Observer) -> None:
        """Call an observer from now on."""
        self._observers.append(observer)

    def forget(self, observer: Observer) -> None:
        """Call an observer no more."""
        if observer in self._observers:
            self._observers.remove(observer)

    def disturb(self, disturbance: Disturbance) -> None:
        """Replace the disturbance; ``CALM`` ends it, and lets go what is held back."""
        self._disturbance = disturbance
        self._stop_cutting()
        if disturbance is CALM:
            self._out.release(self._loop)
            self._in.release(self._loop)
        elif disturbance.cut_every_s:
            self._cut_timer = self._loop.call_later(disturbance.cut_every_s, self.cut)

    def cut(self) -> None:
        """Break the connection off, as a broken network does."""
        self._carrier.drop(self._transport)

    def note_command(self, command: bytes, reply: bytes | None) -> None:
        """A command for an event stream came in a request, which has got the reply."""
        self._tell(lambda observer: observer.received(command))
        if reply is not None:
            event = build_event(reply)
            self._tell(lambda observer: observer.sent(event))

    def remove(self) -> None:
        """Give the transport its real backend and owner again."""
        self.disturb(CALM)
        self._transport._backend = self._carrier
        if self._transport.owner is self:
            self._transport.owner = self._owner

    # The backend of the transport

    @property
    def cork(self) -> _AlwaysIn:
        """The transport writes nothing itself."""
        return _CORKED

    def now(self) -> float:
        """The time (monotonic seconds)."""
        return self._clock.monotonic()

    def enqueue(self, transport: Transport, frame: bytes) -> bool:
        """Send, unless the frame gets lost, and not before its time."""
        disturbance = self._disturbance
        if disturbance is CALM:
            return self._write(frame)
        if transport.state is not OPEN:
            return False
        if disturbance.to_client and _is_lost(disturbance):
            return True
        delay_s = _delay(disturbance) if disturbance.to_client else 0.0
        self._out.hold(frame, self.now() + delay_s, disturbance.bytes_per_s)
        if self._out.size > self._limit_bytes:
            self._carrier.counters.slow_consumers += 1
            self._carrier.fail(transport, SLOW_CONSUMER, "slow consumer")
            return False
        self._out.wait(self._loop, self.now())
        return True

    def wrote(self, transport: Transport, frame: bytes, written: int) -> bool:
        """Never called, as the transport writes nothing itself."""
        return self._carrier.wrote(transport, frame, written)

    def drop(self, transport: Transport) -> None:
        """Close the socket of a broken connection."""
        self._carrier.drop(transport)

    def begin_close(self, transport: Transport, code: int, reason: str) -> None:
        """Start the closing handshake, behind what is held back."""
        self._out.release(self._loop)
        self._carrier.begin_close(transport, code, reason)

    def pause(self, transport: Transport, paused: bool) -> None:
        """Stop or resume delivering."""
        self._carrier.pause(transport, paused)

    def _write(self, frame: bytes) -> bool:
        is_sent = self._carrier.send_now(self._transport, frame)
        if is_sent:
            self._tell(lambda observer: observer.sent(frame))
        return is_sent

    def _tell(self, call: Callable[[Observer], None]) -> None:
        """Call all observers; one that raises is removed, and the connection goes on."""
        for observer in list(self._observers):
            try:
                call(observer)
            except Exception:
                log.exception("observer failed fd=%d", self._transport.fd)
                self.forget(observer)

    # The owner of the transport

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """A text message of the peer."""
        disturbance = self._disturbance
        if disturbance is CALM or not disturbance.from_client:
            self._deliver(payload)
            return
        if _is_lost(disturbance):
            return
        self._in.hold(payload, self.now() + _delay(disturbance), 0.0)
        if self._in.size > self._limit_bytes:
            self._in.release(self._loop)
        self._in.wait(self._loop, self.now())

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """A binary message of the peer."""
        self._owner.on_binary(transport, payload)

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """A ping, which has been answered."""
        self._owner.on_ping(transport, payload)

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """A pong."""
        self._owner.on_pong(transport, payload)

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """The end of the connection; what is held back is lost."""
        self._stop_cutting()
        self._out.clear(self._loop)
        self._in.clear(self._loop)
        self._tell(lambda observer: observer.closed(code, reason, clean))
        self._on_close(transport)
        self._owner.on_close(transport, code, reason, clean)

    def _deliver(self, payload: bytes) -> bool:
        transport = self._transport
        if transport.state is not OPEN:
            return False
        self._tell(lambda observer: observer.received(payload))
        try:
            self._owner.on_text(transport, payload)
        except Exception:
            log.exception("message handler failed fd=%d", transport.fd)
            self._carrier.fail(transport, INTERNAL_ERROR, "internal error")
        return True

    def _stop_cutting(self) -> None:
        if self._cut_timer is not None:
            self._loop.remove_timeout(self._cut_timer)
            self._cut_timer = None


class _Held:
    """Messages of one direction that are passed on later, in their order."""

    def __init__(self, let_go: Callable[[bytes], Any]) -> None:
        self._let_go = let_go
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._last_due = 0.0
        self._timer: Any = None
        self.size = 0
        """Bytes held back."""

    def hold(self, data: bytes, due: float, bytes_per_s: float) -> None:
        """Hold a message back until ``due`` (monotonic), and until the one before is read."""
        due = max(due, self._last_due)
        if bytes_per_s:
            due += len(data) / bytes_per_s
        self._last_due = due
        self._waiting.append((due, data))
        self.size += len(data)

    def wait(self, loop: Loop, now: float) -> None:
        """Pass on what is due now, and the rest when it is due."""
        while self._waiting and self._waiting[0][0] <= now:
            self._take()
        if self._waiting and self._timer is None:
            self._timer = loop.call_later(self._waiting[0][0] - now, self._due, loop)

    def release(self, loop: Loop) -> None:
        """Pass everything on now."""
        self._stop(loop)
        while self._waiting:
            self._take()
        self._last_due = 0.0

    def clear(self, loop: Loop) -> None:
        """Discard everything."""
        self._stop(loop)
        self._waiting.clear()
        self.size = 0

    def _due(self, loop: Loop) -> None:
        self._timer = None
        if self._waiting:  # a timer may be a little early
            self.wait(loop, self._waiting[0][0])

    def _take(self) -> None:
        _, data = self._waiting.popleft()
        self.size -= len(data)
        self._let_go(data)

    def _stop(self, loop: Loop) -> None:
        if self._timer is not None:
            loop.remove_timeout(self._timer)
            self._timer = None


def _is_lost(disturbance: Disturbance) -> bool:
    return random.random() < disturbance.drop  # noqa: S311 - nothing is secret here


def _delay(disturbance: Disturbance) -> float:
    return disturbance.delay_s + random.random() * disturbance.jitter_s  # noqa: S311
