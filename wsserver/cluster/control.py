"""``Control``: requests to other nodes, with a deadline, and notices to all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from msgspec import Struct

R = TypeVar("R")

Handler = Callable[[Any], Any]
"""Handles a request or notice on a node; returns the answer, or an awaitable of it."""


class Request(Struct, Generic[R], frozen=True):
    """Base of requests; ``R``: type of a node's answer, which MessagePack can encode.

    The name of the class is its tag on the wire: unique, and never reused for something else.
    """

    is_void_late: ClassVar[bool] = False
    """Not handled by a node that receives it after a standstill, as the requester has been told
    that the node is unreachable."""


class Notice(Struct, frozen=True):
    """Base of notices, which have no answer; the name of the class is its tag on the wire."""


@dataclass(frozen=True)
class Answers(Generic[R]):
    """The answers of the nodes; the requesting node's own answer is the first."""

    by_node: dict[str, R]
    unreachable: tuple[str, ...] = ()
    """Nodes that did not answer before the deadline, or could not."""


class Control(Protocol):
    """Calls the handlers of other nodes and of this one.

    The own handler is called directly, before anything is sent: its exceptions propagate. Failures
    elsewhere make that node ``unreachable``.
    """

    node: str
    """Name of this node."""
    has_others: bool
    """Whether there can be other nodes."""
    all_nodes: str
    """What stands for the node's name in sums over all nodes: ``*``, or the name of this node if
    there can be no others."""

    def add_handler(
        self, kind: type[Request[R]], handler: Callable[[Any], R | Awaitable[R]]
    ) -> None:
        """Register the handler of a kind of request."""

    def add_listener(self, kind: type[Notice], listener: Callable[[Any], None]) -> None:
        """Register the listener of a kind of notice."""

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when notices of other nodes may have been missed: start, reconnect."""

    async def start(self) -> None:
        """Begin to receive; all handlers are registered."""

    async def stop(self) -> None:
        """Stop receiving; open requests end as unreachable."""

    async def ask_all(self, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Ask every living node, this one included."""
        ...

    async def ask(self, node: str, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Ask one node; a node that does not exist is ``unreachable``."""
        ...

    def notify(self, notice: Notice) -> None:
        """Notify every node, this one first and before this returns; may get lost elsewhere.

        So each state that notices carry has to be repaired by other means too: stored, repeated.
        """

    def notify_here(self, notice: Notice) -> None:
        """Notify this node alone, of what it has read from storage because its notice got lost."""
