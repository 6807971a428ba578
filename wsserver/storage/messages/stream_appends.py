"""Append to streams: deduplication, assignment of offsets, insertion of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from wsserver.errors import NotFound, WsServerError
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.epochs import default_epoch
from wsserver.storage.messages import participants, revisions, search_rows, stale_views
from wsserver.storage.messages.conversations import ensure
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    Append,
    Appended,
    Change,
)
from wsserver.storage.messages.participants import NEW_MESSAGE
from wsserver.storage.messages.upserts import upsert

DEDUP_KEPT_S = 86_400
"""Time in which a repeated message is recognised."""

_SELECT_IDS = (
    f"SELECT m.message_id, s.name, s.epoch, m.key & {LAST_OFFSET}"  # noqa: S608
    f" FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " WHERE m.message_id IN (SELECT value FROM json_each(?))"
)
_SELECT_MESSAGES = f"{_SELECT_IDS} AND m.subject IS NULL"
"""Without change records, which are no messages."""
_SELECT_DEDUP = (
    'SELECT key, message_id, stream, epoch, "offset", at FROM dedup'
    " WHERE scope = ? AND key IN (SELECT value FROM json_each(?))"
)
_EXTEND = (
    "INSERT INTO streams (name, epoch, last_offset, touched_at, uncounted, limited_offset,"
    " message_offset, message_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET"
    " last_offset = streams.last_offset + excluded.last_offset,"
    " touched_at = CASE WHEN excluded.touched_at > streams.touched_at"
    " THEN excluded.touched_at ELSE streams.touched_at END,"
    " uncounted = streams.uncounted + excluded.uncounted,"
    # Those of the batch count from its first message.
    " limited_offset = CASE WHEN excluded.limited_offset > 0"
    " THEN streams.last_offset + excluded.limited_offset ELSE streams.limited_offset END,"
    " message_offset = CASE WHEN excluded.message_offset > 0"
    " THEN streams.last_offset + excluded.message_offset ELSE streams.message_offset END,"
    " message_at = CASE WHEN excluded.message_offset > 0"
    " THEN excluded.message_at ELSE streams.message_at END"
)
_SELECT_STREAMS = (
    "SELECT name, id, epoch, last_offset, uncounted FROM streams"
    " WHERE name IN (SELECT value FROM json_each(?))"
)
_COLUMNS = "key, message_id, type, at, expires_at, has_ttl, sender, origin, audience, payload"
"""Each execution releases the GIL and waits for it again while the event loop is busy, so a
statement inserts many rows. Few sizes, as each is prepared once and cached."""
_DEDUP_COLUMNS = 'scope, key, message_id, stream, epoch, "offset", at'
_REPLACE_DEDUP = (
    " ON CONFLICT (scope, key) DO UPDATE SET"
    " message_id = excluded.message_id, stream = excluded.stream, epoch = excluded.epoch,"
    ' "offset" = excluded."offset", at = excluded.at'
)

_KEY = itemgetter(0)
_NONE: Mapping[str, int] = MappingProxyType({})


class Outcome(NamedTuple):
    """Result of a batch: one answer for each message, and the last offset of each stream."""

    answers: list[Appended]
    ends: dict[str, int]


class _Reserved:
    """Offsets of a stream that are reserved for a batch."""

    __slots__ = ("base", "epoch", "next_offset", "session_id", "uncounted")

    def __init__(
        self, name: str, stream_id: int, epoch: str, next_offset: int, uncounted: int
    ) -> None:
        self.base = stream_id << OFFSET_BITS
        self.epoch = epoch
        self.next_offset = next_offset
        self.session_id = name.removeprefix(SESSION) if name.startswith(SESSION) else None
        self.uncounted = uncounted
        """What is not counted as a message of a session, up to the next offset."""


class _Extension:
    """What a batch adds to a stream."""

    __slots__ = ("count", "is_session", "latest", "limited", "message", "message_at", "uncounted")

    def __init__(self, name: str) -> None:
        self.count = self.uncounted = 0
        self.limited = self.message = 0
        """Of the last message with an audience, and of the last message at all; from 1."""
        self.message_at = self.latest = 0.0
        self.is_session = name.startswith(SESSION)

    def add(self, item: Append) -> None:
        """Count a message."""
        self.count += 1
        if item.at > self.latest:
            self.latest = item.at
        if not self.is_session:
            return
        if item.type == NEW_MESSAGE:
            self.message, self.message_at = self.count, item.at
            if item.audience is None:
                return
            self.limited = self.count
        self.uncounted += 1


def append(db: Connection, batch: Sequence[Append], default_ai: str | None = None) -> Outcome:
    """Store the new messages of a batch in their order; all or, with an exception, none.

    ``default_ai`` holds the sessions that begin with one of them.
    A job of the writer thread; its savepoint rolls reserved offsets back after an error.
    """
    seen = _stored(db, batch)
    firsts: Sequence[Appended | Append]
    new: Sequence[Append]
    if not seen and _are_different(batch):
        firsts = new = batch
    else:
        firsts, new = _without_repeated(batch, seen)
    if any(
        item.revision is not None
        or item.hook is not None
        or item.replies_to is not None
        or item.view is not None
        for item in batch
    ):
        return _append_with_more(db, batch, firsts, new, default_ai)
    reserved, ends = _reserve(db, new, default_ai)
    added = _insert(db, new, reserved)
    if len(new) == len(batch):
        return Outcome(added, ends)
    return Outcome(_in_order(firsts, added), ends)


def _are_different(batch: Sequence[Append]) -> bool:
    """Whether no message of a batch repeats another one, as in most."""
    marks: list[str | tuple[str, str]] = [item.message_id for item in batch]
    marks += [item.dedup for item in batch if item.dedup is not None]
    return len(set(marks)) == len(marks)


def _without_repeated(
    batch: Iterable[Append], seen: dict[str | tuple[str, str], Appended | Append]
) -> tuple[list[Appended | Append], list[Append]]:
    """For each message the first one that it repeats, or itself; and those that repeat none."""
    firsts: list[Appended | Append] = []
    new: list[Append] = []
    for item in batch:
        first = seen.get(item.dedup) if item.dedup is not None else None
        if first is None:
            first = seen.get(item.message_id)
        if first is None:
            first = item
            new.append(item)
            seen[item.message_id] = item
            if item.dedup is not None:
                seen[item.dedup] = item
        firsts.append(first)
    return firsts, new


def _append_with_more(
    db: Connection,
    batch: Sequence[Append],
    firsts: Iterable[Appended | Append],
    new: Sequence[Append],
    default_ai: str | None,
) -> Outcome:
    """``append`` where some are change records, have hooks, are replies or name what their sender
    has seen: of these some may be refused, and get no offset.
    """
    refused = {
        item.message_id: _refused(item, NotFound("message", item.replies_to[1]))
        for item in _without_subject(db, new)
        if item.replies_to is not None
    }
    checked = _check(db, new, refused)
    stale = stale_views.find_stale(db, new, refused)
    refused |= {
        item.message_id: _refused(item, stale[item.message_id])
        for item in new
        if item.message_id in stale
    }
    records = [
        (item, item.revision)
        for item in new
        if item.revision is not None and item.message_id not in refused
    ]
    outcomes = revisions.revise(db, [revision for _, revision in records])
    changes: dict[str, Change] = {}
    subjects: dict[str, int] = {}
    for (item, _), outcome in zip(records, outcomes, strict=True):
        id_ = item.message_id
        if isinstance(outcome, WsServerError):
            refused[id_] = _refused(item, outcome)
        else:
            subject, changes[id_] = outcome
            subjects[id_] = subject.key
    accepted = [item for item in new if item.message_id not in refused]
    reserved, ends = _reserve(db, accepted, default_ai)
    added = [
        place._replace(change=changes.get(place.message_id), checked=checked.get(place.message_id))
        for place in _insert(db, accepted, reserved, subjects)
    ]
    for item, place in zip(accepted, added, strict=True):
        if item.hook is not None:
            item.hook.write(db, place.checked, place)
    stale_views.add_missed(db, new, stale)
    answers = _in_order(firsts, [*added, *refused.values()])
    repeated = [
        item
        for item, answer in zip(batch, answers, strict=True)
        if item.revision is not None and answer.change is None and answer.refusal is None
    ]
    if repeated:
        changes |= revisions.recorded_changes(db, repeated)
        answers = [each._replace(change=changes.get(each.message_id)) for each in answers]
    return Outcome(answers, ends)


def _check(db: Connection, new: Iterable[Append], refused: dict[str, Appended]) -> dict[str, Any]:
    """What the checks of the hooks return, by message id; adds to ``refused``."""
    checked: dict[str, Any] = {}
    for item in new:
        if item.hook is not None and item.message_id not in refused:
            try:
                checked[item.message_id] = item.hook.check(db)
            except WsServerError as refusal:
                refused[item.message_id] = _refused(item, refusal)
    return checked


def _refused(item: Append, error: WsServerError) -> Appended:
    return Appended(item.message_id, item.stream, "", 0, False, refusal=error)


def _without_subject(db: Connection, new: Sequence[Append]) -> list[Append]:
    """The replies to messages that are neither stored nor before them in the batch."""
    replies = [item.replies_to[1] for item in new if item.replies_to is not None]
    if not replies:
        return []
    known = {
        (stream, message_id)
        for message_id, stream, *_ in db.execute(_SELECT_MESSAGES, [db.listed(replies)])
    }
    missing = []
    for item in new:
        if item.replies_to is not None and item.replies_to not in known:
            missing.append(item)
        elif item.revision is None:
            known.add((item.stream, item.message_id))
    return missing


def _stored(
    db: Connection, batch: Sequence[Append]
) -> dict[str | tuple[str, str], Appended | Append]:
    """The messages of a batch that are stored already, by message id and deduplication key."""
    ids = db.listed([item.message_id for item in batch])
    by_scope: dict[str, dict[str, float]] = {}
    for item in batch:
        if item.dedup is not None:
            scope, key = item.dedup
            by_scope.setdefault(scope, {})[key] = item.at - DEDUP_KEPT_S
    with db.pipeline():
        by_id = db.execute(_SELECT_IDS, [ids])
        by_key = [
            (scope, db.execute(_SELECT_DEDUP, [scope, db.listed(list(oldest))]))
            for scope, oldest in by_scope.items()
        ]
        stored: dict[str | tuple[str, str], Appended | Append] = {}
        for message_id, stream, epoch, offset in by_id:
            stored[message_id] = Appended(message_id, stream, epoch, offset, False)
        for scope, found in by_key:
            for key, message_id, stream, epoch, offset, at in found:
                if at > by_scope[scope][key]:
                    stored[scope, key] = Appended(message_id, stream, epoch, offset, False)
    return stored


def _reserve(
    db: Connection, new: Iterable[Append], default_ai: str | None
) -> tuple[dict[str, _Reserved], dict[str, int]]:
    added: dict[str, _Extension] = {}
    for item in new:
        extension = added.get(item.stream)
        if extension is None:
            extension = added[item.stream] = _Extension(item.stream)
        extension.add(item)
    epoch = default_epoch(db)
    reserved = {}
    ends = {}
    with db.pipeline():
        # Twice as fast as one upsert a stream with RETURNING.
        db.executemany(
            _EXTEND,
            # In the order of names: another process that locks the same rows waits for this one.
            [
                (
                    name,
                    epoch,
                    each.count,
                    each.latest,
                    each.uncounted,
                    each.limited,
                    each.message,
                    each.message_at,
                )
                for name, each in sorted(added.items())
            ],
        )
        for name, stream_id, epoch, last, uncounted in db.execute(
            _SELECT_STREAMS, [db.listed(list(added))]
        ):
            each = added[name]
            first, before = last - each.count + 1, uncounted - each.uncounted
            reserved[name] = _Reserved(name, stream_id, epoch, first, before)
            ends[name] = last
    begun = {
        name.removeprefix(SESSION): added[name].latest
        for name, last in ends.items()
        if last == added[name].count and added[name].is_session
    }
    if begun:
        ensure(db, begun, default_ai)
    return reserved, ends


def _insert(
    db: Connection,
    new: Iterable[Append],
    reserved: dict[str, _Reserved],
    subjects: Mapping[str, int] = _NONE,
) -> list[Appended]:
    """Insert messages; ``subjects``: keys of changed messages, by the ids of their records."""
    added: list[Appended] = []
    rows: list[tuple[Any, ...]] = []
    records: list[tuple[Any, ...]] = []
    searched: list[int] = []
    keys: list[tuple[Any, ...]] = []
    written: dict[tuple[str, str], tuple[str, str, int, int, float]] = {}
    for item in new:
        place = reserved[item.stream]
        offset = place.next_offset
        place.next_offset = offset + 1
        is_chat = item.type == NEW_MESSAGE and place.session_id is not None
        added.append(Appended(item.message_id, item.stream, place.epoch, offset, True))
        row = (
            place.base | offset,
            item.message_id,
            item.type,
            item.at,
            item.expires_at,
            int(item.has_ttl),
            item.sender,
            item.origin,
            item.audience,
            item.payload,
        )
        if item.revision is None:
            rows.append(row)
            if is_chat:
                searched.append(row[0])
        else:
            records.append((*row, subjects[item.message_id]))
        if item.dedup is not None:
            keys.append((*item.dedup, item.message_id, item.stream, place.epoch, offset, item.at))
        if not is_chat or item.audience is not None:
            place.uncounted += 1
        if is_chat and place.session_id is not None and item.sender is not None:
            pair = item.sender, place.session_id
            written[pair] = (*pair, offset, offset - place.uncounted, item.at)
    # In the order of the b-tree: takes half the time of random inserts.
    rows.sort(key=_KEY)
    db.insert("messages", _COLUMNS, rows)
    if records:
        db.insert("messages", f"{_COLUMNS}, subject", records)
    if searched:
        search_rows.enqueue(db, searched)
    if keys:
        upsert(db, "dedup", _DEDUP_COLUMNS, _REPLACE_DEDUP, keys)
    if written:
        participants.wrote(db, written.values())
    return added


def _in_order(firsts: Iterable[Appended | Append], added: Iterable[Appended]) -> list[Appended]:
    """One answer for each of a batch in which some are repeated."""
    positions = {position.message_id: position for position in added}
    answers = []
    for first in firsts:
        if isinstance(first, Appended):
            answers.append(first)
        else:
            answers.append(positions[first.message_id])
            positions[first.message_id] = positions[first.message_id]._replace(is_new=False)
    return answers
