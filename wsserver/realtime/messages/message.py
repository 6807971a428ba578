"""``Message``: a push before it is encoded; ``Sent``: the outcome of sending it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from wsserver.cluster.broker import NO_RECIPIENTS, Publication, PublishResult
from wsserver.errors import WsServerError
from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import EVERYONE, Target
from wsserver.storage.messages.message_rows import View


class Message(Struct, gc=False):
    """A push before it is encoded: its type and members, its recipients, and how it is sent."""

    type: str
    members: dict[str, Any]
    target: Target = EVERYONE
    message_id: str = ""
    """Set where the members refer to it; otherwise generated on sending."""
    organization_id: str | None = None
    with_unaffiliated: bool = False
    """Whether ``organization_id`` also admits users without an organization."""
    role: str | None = None
    exclude_users: frozenset[str] = frozenset()
    is_addressed: bool = True
    """Whether its push has an ``id``. Signals such as ``typing`` have none."""
    keep: bool = False
    """Whether it is stored in its target's stream before it is published."""
    ttl_s: float | None = None
    """Seconds until it expires; None: the retention time of its stream."""
    sender: str | None = None
    """User id that gets its status updates, if it is kept."""
    dedup: tuple[str, str] | None = None
    """Deduplication scope and key: a second message with the same pair within 24 h is not sent."""
    origin: Origin | None = None
    """The publisher; None: the server itself."""
    replies_to: tuple[str, str] | None = None
    """Stream and id of a message that has to be there; of kept messages only."""
    view: View | None = None
    """What its sender has seen of the session; if others wrote after it, it is not stored."""
    term: int | None = None
    """The term that its session has to be in; None: any."""
    is_counted: bool = True
    """Whether its publisher waits for the number of its recipients; else ``Sent`` may have none.

    Messages to a user always are: whether any connection got it decides about ``queued``."""
    size_bytes: int = 0
    """Bytes of its push as JSON, without a position; 0 until it is encoded."""
    prototype: Message | None = None
    """The message that it differs from in its id and ``content`` alone (``Variants``): both have
    the same ``members``, with the id and the content of the prototype."""
    content: Any = None

    def publication(self, message_id: str, payload: bytes, at: float) -> Publication:
        """A live message as it is published to the nodes."""
        return Publication(
            message_id,
            self.type,
            self.target,
            payload,
            self.organization_id,
            self.with_unaffiliated,
            self.role,
            self.exclude_users,
            self.origin,
            at,
            sender=self.sender,
        )


class Sent(Struct, frozen=True, gc=False):
    """The outcome of a send."""

    message_id: str
    receipt: PublishResult = NO_RECIPIENTS
    """``NO_RECIPIENTS`` for a repeated message: it is not sent again."""
    stream: str = ""
    """The stream that keeps it; empty for a live message."""
    epoch: str = ""
    offset: int = 0
    is_new: bool = True
    """False: this is the outcome of an earlier message with the same key, or a refusal."""
    checked: Any = None
    """What was read in its transaction (``TransactionHook``); None for a repeated message."""
    refusal: WsServerError | None = None
    """Why one of several messages that were kept together was refused."""

    @property
    def position(self) -> dict[str, Any]:
        """Stream, epoch and offset of a kept message; empty for a live one."""
        if not self.stream:
            return {}
        return {"stream": self.stream, "epoch": self.epoch, "offset": self.offset}

    @property
    def unreachable(self) -> dict[str, list[str]]:
        """The nodes that did not answer in time; empty if all did."""
        names = self.receipt.unreachable
        return {"unreachable": sorted(names)} if names else {}

    def answer(self, **first: Any) -> dict[str, Any]:
        """The outcome as the REST API returns it, behind what comes ``first``."""
        receipt, answer = self.receipt, first
        answer["message_id"] = self.message_id
        answer["matched"] = receipt.matched
        answer["sent"] = receipt.sent
        answer["failed"] = receipt.failed
        if self.stream:
            answer["stream"] = self.stream
            answer["epoch"] = self.epoch
            answer["offset"] = self.offset
        if receipt.unreachable:
            answer["unreachable"] = sorted(receipt.unreachable)
        return answer
