"""The archive: messages of sessions that are kept longer than they can be resumed."""

from __future__ import annotations

import pytest

from tests.support.message_rows import NOW, message, offsets, several, wanted
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import retention, stream_reads
from wsserver.storage.messages.message_rows import Span
from wsserver.storage.messages.streams import StreamStore

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.mark.gen_test
async def test_what_was_stored_for_a_shorter_time_is_kept_for_the_rest_of_the_longer_one(
    streams: StreamStore,
) -> None:
    """As after an update from a version without an archive: no message has to be rewritten."""
    await streams.append(several("session:s1", *"abcd"))
    await streams.append(several("session:s1", "short", expires_at=NOW + 9, has_ttl=True))
    await streams.append(several("user:u1", "note"))
    later = NOW + 2 * DAY_S
    deleted = await streams.expire(later, limit=2, session_s=YEAR_S)
    deleted += await streams.expire(later, limit=2, session_s=YEAR_S)
    assert [each.message_id for each in deleted] == ["short", "note"]
    assert await streams.expire(later, limit=2, session_s=YEAR_S) == []
    assert (await streams.head("session:s1")).first_offset == 1
    assert list((await offsets(streams, "session:s1", later)).values()) == [*"abcd"]
    assert await streams.expire(NOW + YEAR_S - 1, session_s=YEAR_S) == []
    assert len(await streams.expire(NOW + YEAR_S, session_s=YEAR_S)) == 4
    assert (await streams.head("session:s1")).first_offset == 5


@pytest.mark.gen_test
async def test_a_shorter_time_holds_for_what_is_stored_as_well(
    streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SHORTENED_AT_ONCE", 2)
    await streams.append(several("session:s1", *"abc", expires_at=NOW + YEAR_S))
    await streams.append(several("session:s2", "e", expires_at=NOW + 90 * DAY_S, has_ttl=True))
    await streams.append(several("session:s2", "f", expires_at=NOW + 9, has_ttl=True))
    await streams.append(several("user:u1", "note", expires_at=NOW + YEAR_S))
    await streams.shorten(YEAR_S)
    assert await streams.expire(NOW, session_s=YEAR_S) == []
    await streams.shorten(30 * DAY_S)
    deleted = await streams.expire(NOW + 30 * DAY_S, session_s=30 * DAY_S)
    assert [each.message_id for each in deleted] == ["f", "a", "b", "c", "e"]
    assert await offsets(streams, "user:u1") == {1: "note"}


@pytest.mark.gen_test
async def test_stored_messages_are_looked_at_only_when_the_time_was_shortened(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    shorten = retention.shorten

    def noted(db: object, session_s: float, after: int) -> int | None:
        looked.append(session_s)
        return shorten(db, session_s, after)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "shorten", noted)
    for session_s in (YEAR_S, YEAR_S, 2 * YEAR_S, 2 * YEAR_S, YEAR_S):
        await StreamStore(database).shorten(session_s)  # of a process each
    assert looked == [YEAR_S, YEAR_S]  # first, nothing is known of what is stored


@pytest.mark.gen_test
async def test_archived_sessions_have_no_limit_of_messages(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *"abcd"))
    await streams.append(several("user:u1", *"efgh"))
    deleted = await streams.trim(2, with_sessions=False)
    assert [each.message_id for each in deleted] == ["e", "f"]
    assert await streams.trim(2, with_sessions=False) == []
    assert len(await offsets(streams, "session:s1")) == 4


@pytest.mark.gen_test
async def test_a_resume_from_before_the_window_reads_no_message(streams: StreamStore) -> None:
    await streams.append(several("session:s1", "short", at=NOW - 99, expires_at=NOW, has_ttl=True))
    await streams.append(several("session:s1", *"ab", at=NOW - DAY_S))
    await streams.append(several("session:s1", "c", at=NOW - 1))
    oldest = NOW - DAY_S
    too_old = await streams.read(wanted("session:s1", is_whole=True, oldest=oldest))
    assert (too_old.messages, too_old.is_too_old) == ([], True)
    assert (await streams.read(wanted("session:s1", 2, oldest=oldest))).is_too_old
    found = await streams.read(wanted("session:s1", 3, oldest=oldest))
    assert ([each.message_id for each in found.messages], found.is_too_old) == (["c"], False)


# By time


async def between(streams: StreamStore, since: float | None, until: float | None) -> list[str]:
    span = await streams.span("session:s1", since, until)
    part = wanted("session:s1", span.after, span.until, since=since, before=until)
    found = await streams.read(part)
    back = await streams.read_back(part)
    assert back.messages == found.messages
    return [each.message_id for each in found.messages]


@pytest.mark.gen_test
async def test_a_span_of_time_is_found_in_a_long_stream(
    streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reads, "DISORDER_S", 2.0)
    await streams.append(
        [message("session:s1", f"{n}", at=NOW + n) for n in range(300) if n % 100 < 50]
    )
    assert await between(streams, NOW + 48, NOW + 102) == ["48", "49", "100", "101"]
    assert await between(streams, NOW + 60, NOW + 80) == []
    assert await between(streams, None, NOW + 2) == ["0", "1"]
    assert await between(streams, NOW + 248, None) == ["248", "249"]
    assert len(await between(streams, None, None)) == 150
    assert await streams.span("session:s1", NOW + 102, NOW + 105) == Span(50, 57)
    assert await streams.span("session:s1", NOW + 999, None) == Span(150, 150)
    assert await streams.span("session:s1", None, NOW - 999) == Span(0, 0)
    assert await streams.span("session:none", NOW, None) == Span(0, 0)


@pytest.mark.gen_test
async def test_messages_out_of_the_order_of_their_times_are_found(streams: StreamStore) -> None:
    """Of two servers whose clocks differ by half an hour."""
    await streams.append(
        [message("session:s1", f"{n}", at=NOW + 60 * n - 1800 * (n % 2)) for n in range(200)]
    )
    since, until = NOW + 6000, NOW + 6061
    assert await between(streams, since, until) == ["100", "131"]
