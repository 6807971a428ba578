"""What the delivery on a node needs of others: Protocols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from wsserver.cluster.broker import AnswerGrown, InboxSettled, Publication
from wsserver.realtime.connections.connection import ConnectionInfo


class KeptDeliveries(Protocol):
    """Tracking of kept messages besides writing them: the inboxes."""

    def admitted(
        self, publication: Publication, connections: Iterable[ConnectionInfo]
    ) -> list[ConnectionInfo]:
        """The connections of a user that a message is to be written to live."""
        ...

    def delivered(self, publication: Publication, connections: Sequence[ConnectionInfo]) -> None:
        """A kept message was written to these connections."""
        ...

    def observes(self, sender: str | None) -> bool:
        """Whether ``delivered`` does anything for messages of this sender that are for many."""
        ...

    def settled(self, signal: InboxSettled) -> None:
        """Messages of an inbox need not be resent."""


class GrowingAnswers(Protocol):
    """Texts of answers that grow, put together on this node: ``FollowedAnswers``."""

    def delivered(self, publication: Publication) -> None:
        """A kept message was written to the connections of this node."""

    def grown(self, signal: AnswerGrown) -> None:
        """More text of an answer."""
