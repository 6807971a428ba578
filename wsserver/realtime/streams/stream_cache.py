"""Streams in memory: a bounded cache of positions and messages, an index of existing names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from wsserver.realtime.streams.cached_message import CachedMessage
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES, Stream

STREAMS_LIMIT = 50_000
TAILS_LIMIT_BYTES = 64 * 1024 * 1024
"""Limits of the cache; the least recently used streams are evicted, and read again when needed."""
NAMES_LIMIT = 200_000
"""Stream names in the index; with more, storage is asked each time."""


class StreamCache:
    """Cache of streams by name. Messages are evicted before positions, which are small.

    ``tail_limit``, ``tail_limit_bytes``: messages of one stream; ``on_forgotten`` is called with
    the name of a stream that is evicted or replaced.
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
        """Those with cached messages."""
        self.tail_bytes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def peek(self, name: str) -> Stream | None:
        """A cached stream, without marking it as used."""
        return self._streams.get(name)

    def use(self, name: str) -> Stream | None:
        """A cached stream; it becomes the most recently used one."""
        stream = self._streams.get(name)
        if stream is not None:
            self._streams.move_to_end(name)
            if name in self._tails:
                self._tails.move_to_end(name)
        return stream

    def remember(self, name: str, epoch: str, head: int) -> Stream:
        """Cache a stream at a position, without messages, in place of its former state."""
        self.forget(name)
        stream = self._streams[name] = Stream(
            name, epoch, head, self._tail_limit, self._tail_limit_bytes
        )
        while len(self._streams) > STREAMS_LIMIT:
            self.forget(next(iter(self._streams)))
        return stream

    def forget(self, name: str) -> None:
        """Evict a stream."""
        self._on_forgotten(name)
        stream = self._streams.pop(name, None)
        if stream is not None and self._tails.pop(name, None) is not None:
            self.tail_bytes -= stream.tail_bytes

    def clear(self) -> None:
        """Evict all streams."""
        self._streams.clear()
        self._tails.clear()
        self.tail_bytes = 0

    def published(self, stream: Stream, entries: Iterable[CachedMessage]) -> None:
        """Add the next messages of a stream, which are published in this turn of the loop."""
        before = stream.tail_bytes
        for entry in entries:
            stream.published(entry)
        self._grown(stream, before)

    def prepend(
        self, stream: Stream, older: Sequence[CachedMessage], after: int, until: int
    ) -> None:
        """Add messages read from storage before the cached ones; see ``Stream.prepend``."""
        if self._streams.get(stream.name) is stream:  # otherwise it was evicted meanwhile
            before = stream.tail_bytes
            stream.prepend(older, after, until)
            self._grown(stream, before)

    def trim(self, stream: Stream, first_offset: int) -> None:
        """Remove the messages of a cached stream that retention has deleted."""
        before = stream.tail_bytes
        stream.trim(first_offset)
        self.tail_bytes += stream.tail_bytes - before

    def change(self, stream: Stream, offset: int, revision: int, message: bytes) -> None:
        """Put the new version of a message into a cached stream; see ``Stream.change``."""
        before = stream.tail_bytes
        stream.change(offset, revision, message)
        self.tail_bytes += stream.tail_bytes - before

    def outdate(self, stream: Stream, offset: int, revision: int) -> None:
        """Remove an outdated message of a cached stream; see ``Stream.outdate``."""
        before = stream.tail_bytes
        stream.outdate(offset, revision)
        self.tail_bytes += stream.tail_bytes - before

    def drop_tail(self, stream: Stream) -> None:
        """Evict the messages of a cached stream, and keep its position."""
        self.tail_bytes -= stream.tail_bytes
        stream.drop_tail()
        self._tails.pop(stream.name, None)

    def drop_tails(self) -> None:
        """Evict the messages of all cached streams, and keep their positions."""
        for stream in list(self._tails.values()):
            self.drop_tail(stream)

    def _grown(self, stream: Stream, before: int) -> None:
        """Update the byte count and evict messages; those of the last used stream always stay."""
        name, tails = stream.name, self._tails
        self._streams.move_to_end(name)
        if name in tails:
            tails.move_to_end(name)
        else:
            tails[name] = stream
        self.tail_bytes += stream.tail_bytes - before
        while self.tail_bytes > TAILS_LIMIT_BYTES and len(self._tails) > 1:
            _, evicted = self._tails.popitem(last=False)
            self.tail_bytes -= evicted.tail_bytes
            evicted.drop_tail()


class StreamIndex:
    """Index of the names of all streams, to skip storage for streams without messages.

    Most inboxes are empty, so most connections need no query. May contain names of deleted
    streams; never lacks an existing one.
    """

    def __init__(self) -> None:
        self._names: set[str] | None = None
        """None: too many, or not loaded."""
        self.epoch = ""
        """Epoch of all streams that do not exist yet."""

    def load(self, epoch: str, names: Collection[str]) -> None:
        """Set the names of all existing streams; more than ``NAMES_LIMIT`` are not kept."""
        self.epoch = epoch
        self._names = set(names) if len(names) <= NAMES_LIMIT else None

    def renew(self, epoch: str) -> None:
        """Set another epoch for streams that do not exist yet."""
        self.epoch = epoch

    def add(self, names: Iterable[str]) -> None:
        """Add streams that messages are about to be appended to."""
        if self._names is not None:
            self._names.update(names)
            if len(self._names) > NAMES_LIMIT:
                self._names = None

    def lacks(self, name: str) -> bool:
        """Whether a stream certainly does not exist."""
        return self._names is not None and name not in self._names
