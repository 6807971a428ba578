"""``Draft``: a message to be kept, before it is stored."""

from __future__ import annotations

from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.messages.message import Message
from wsserver.storage.messages.streams import Append


class Draft(Append, frozen=True, gc=False, kw_only=True):
    """A message to be kept: the row that is stored, and the message to be published then.

    ``payload`` is the push without its position, which is assigned when it is stored.
    """

    message: Message
    readers: Audience | None = None
    """``audience``, decoded; None: all readers of the stream."""
