"""The streams in use and their latest messages, as far as there is room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES, Entry, Stream

STREAMS_LIMIT = 50_000
TAILS_LIMIT_BYTES = 64 * 1024 * 1024
"""Past these, what was unused for longest is forgotten; it is read again when it is needed."""


class StreamCache:
    """Streams by name. Positions and messages are forgotten apart: positions are small.

    ``tail_limit``, ``tail_limit_bytes``: messages of one stream; ``on_forgotten``: told the name of
    a stream that is forgotten or remembered anew.
    """

    def __init__(
        self,
        tail_limit: int,
        on_forgotten: Callable[[str], object],
        tail_limit_bytes: int = TAIL_LIMIT_BYTES,
    ) -> None:
        self._tail_limit = tail_limit
        self._tail_limit_bytes = tail_limit_bytes
        self._on_forgotten = on_forgotten
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._tails: OrderedDict[str, Stream] = OrderedDict()
        """Those with messages."""
        self.tail_bytes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def peek(self, name: str) -> Stream | None:
        """A stream, if it is here; this is no use of it."""
        return self._streams.get(name)

    def use(self, name: str) -> Stream | None:
        """A stream, if it is here; it stays for longer than those used before."""
        stream = self._streams.get(name)
        if stream is not None:
            self._streams.move_to_end(name)
            if name in self._tails:
                self._tails.move_to_end(name)
        return stream

    def remember(self, name: str, epoch: str, head: int) -> Stream:
        """A stream that stands here, with no messages yet, in place of what was known of it."""
        self.forget(name)
        stream = self._streams[name] = Stream(
            name, epoch, head, self._tail_limit, self._tail_limit_bytes
        )
        while len(self._streams) > STREAMS_LIMIT:
            self.forget(next(iter(self._streams)))
        return stream

    def forget(self, name: str) -> None:
        """Know nothing of a stream."""
        self._on_forgotten(name)
        stream = self._streams.pop(name, None)
        if stream is not None and self._tails.pop(name, None) is not None:
            self.tail_bytes -= stream.tail_bytes

    def clear(self) -> None:
        """Know nothing of any stream."""
        self._streams.clear()
        self._tails.clear()
        self.tail_bytes = 0

    def published(self, stream: Stream, entry: Entry) -> None:
        """The next message of a stream is on its way to everybody."""
        before = stream.tail_bytes
        stream.published(entry)
        self._grown(stream, before)

    def prepend(self, stream: Stream, older: Sequence[Entry], after: int, until: int) -> None:
        """Put messages read from storage before those that are here; see ``Stream.prepend``."""
        if self._streams.get(stream.name) is stream:  # otherwise it was forgotten meanwhile
            before = stream.tail_bytes
            stream.prepend(older, after, until)
            self._grown(stream, before)

    def _grown(self, stream: Stream, before: int) -> None:
        """Count the bytes, and make room; the one used last stays, whatever its size."""
        name = stream.name
        self._streams.move_to_end(name)
        self._tails[name] = stream
        self._tails.move_to_end(name)
        self.tail_bytes += stream.tail_bytes - before
        while self.tail_bytes > TAILS_LIMIT_BYTES and len(self._tails) > 1:
            _, longest_unused = self._tails.popitem(last=False)
            self.tail_bytes -= longest_unused.tail_bytes
            longest_unused.drop_tail()
