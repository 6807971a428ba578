"""Read positions and unread counts in the database, compared with counting message by message."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from hypothesis import given
from hypothesis import strategies as st

from tests.support.message_rows import NOW, message, several
from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages import participants, revisions
from wsserver.storage.messages.conversations import ConversationStore
from wsserver.storage.messages.message_rows import Append, Revised, Revision
from wsserver.storage.messages.participants import Move, Moved, Reader, Unread
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.access_lists import MemberStore, OrganizationStore

USERS = ("u1", "u2", "u3")
SESSIONS = ("s1", "s2")


def admits(audience: str, reader: Reader) -> bool:
    """An audience of these tests is the list of those that it is for."""
    return reader.user_id in json.loads(audience)


async def unread(database: Database, session_id: str = "s1") -> dict[str, int]:
    read = partial(participants.unread_in, session_ids=[session_id], admits=admits)
    return {each.user_id: each.unread for each in await database.read(read)}


async def mark(database: Database, user: str, offset: int, session: str = "s1") -> list[Moved]:
    move = Move(user, session, offset, NOW)
    return await database.run(partial(participants.mark, moves=[move]))


async def delete(database: Database, message_id: str, session: str = "s1") -> None:
    revise = Revision(f"session:{session}", message_id, lambda _: Revised(b'{"message":{}}', NOW))
    await database.run(partial(revisions.revise, revisions=[revise]))


async def positions(database: Database, session: str = "s1") -> dict[str, int]:
    return await database.read(partial(participants.positions, session_id=session))


def by(sender: str, *ids: str, **fields: Any) -> list[Append]:
    return several("session:s1", *ids, sender=sender, **fields)


@pytest.mark.gen_test
async def test_messages_of_others_are_unread_until_the_user_reads_or_writes(
    database: Database,
) -> None:
    streams, members = StreamStore(database), MemberStore(database)
    await streams.append(by("u9", "before"))
    await members.replace("s1", ["u1", "u2"], "boss", NOW)
    assert await unread(database) == {"u1": 0, "u2": 0, "u9": 0}
    await streams.append([*by("u1", "a"), *by("u2", "b"), *by("u1", "c", "d")])
    assert await positions(database) == {"u1": 5, "u2": 3, "u9": 1}
    assert await unread(database) == {"u1": 0, "u2": 2, "u9": 4}
    assert await mark(database, "u2", 4) == [Moved("u2", "s1", 4)]
    assert await mark(database, "u2", 3) == []
    assert (await unread(database))["u2"] == 1
    assert await mark(database, "u2", 2**53) == [Moved("u2", "s1", 5)]
    assert (await unread(database))["u2"] == 0
    assert await mark(database, "u2", 2**53) == []


@pytest.mark.gen_test
async def test_what_is_no_message_for_everybody_is_not_counted_by_all(database: Database) -> None:
    streams = StreamStore(database)
    await MemberStore(database).replace("s1", ["u1", "u2"], "boss", NOW)
    await streams.append([
        *by("u9", "a"),
        Append("session:s1", "custom", "order.shipped", b"{}", NOW, NOW + 60, sender="u9"),
        *by("u9", "only_u2", audience='["u2"]'),
        *by("u9", "b"),
    ])  # fmt: skip
    assert await unread(database) == {"u1": 2, "u2": 3, "u9": 0}
    await mark(database, "u2", 1)
    assert await unread(database) == {"u1": 2, "u2": 2, "u9": 0}
    await delete(database, "only_u2")
    assert await unread(database) == {"u1": 2, "u2": 1, "u9": 0}
    await delete(database, "a")  # read by u2, unread to u1
    await delete(database, "a")
    assert await unread(database) == {"u1": 1, "u2": 1, "u9": 0}
    await mark(database, "u1", 3)
    assert await unread(database) == {"u1": 1, "u2": 1, "u9": 0}


@pytest.mark.gen_test
async def test_an_audience_is_judged_by_the_user_s_organization(database: Database) -> None:
    await MemberStore(database).replace("s1", ["u1", "u2"], "boss", NOW)
    await OrganizationStore(database).put("u1", "o1", "boss", NOW)
    await StreamStore(database).append(by("u9", "a", audience='"o1"'))
    read = partial(
        participants.unread_of,
        user_id="u1",
        admits=lambda audience, reader: json.loads(audience) == reader.organization_id,
    )
    assert await database.read(read) == [Unread("u1", "s1", 0, 1, 1, 0, 0)]


@pytest.mark.gen_test
async def test_the_sessions_of_a_user_with_their_latest_activity(database: Database) -> None:
    conversations = ConversationStore(database)
    await StreamStore(database).append(by("u1", "a"))
    for session in ("s1", "idle"):
        await conversations.change(session, {"state": "closed"}, "boss", NOW - 7, lambda _: 0)
    joins = [Move("u1", session, 0, NOW) for session in ("idle", "unknown")]
    await database.run(partial(participants.join, moves=joins))
    read = partial(participants.sessions_of, user_id="u1", admits=admits)
    for with_state, states in ((False, [None] * 3), (True, ["closed", "closed", "open"])):
        found = await database.read(partial(read, with_state=with_state))
        shown = [(each.session_id, each.active_at, each.offset) for each in sorted(found)]
        assert shown == [("idle", NOW - 7, 0), ("s1", NOW, 1), ("unknown", 0.0, 0)]
        assert [each.state for each in sorted(found)] == states


@pytest.mark.gen_test
async def test_who_is_taken_off_and_put_on_again_begins_at_the_end(database: Database) -> None:
    streams, members = StreamStore(database), MemberStore(database)
    await members.replace("s1", ["gone", "writer", "joined"], "boss", NOW)
    await database.run(partial(participants.join, moves=[Move("joined", "s1", 0, NOW)]))
    await streams.append(by("writer", "a"))
    await members.replace("s1", [], "boss", NOW)
    assert await positions(database) == {"writer": 1, "joined": 0}
    await streams.append(by("u9", "b"))
    await members.replace("s1", ["gone", "writer", "joined"], "boss", NOW)
    assert await positions(database) == {"gone": 2, "writer": 2, "joined": 0, "u9": 2}
    assert (await unread(database))["joined"] == 2


@pytest.mark.gen_test
async def test_joining_by_claim_begins_where_it_was_once(database: Database) -> None:
    await StreamStore(database).append(by("u9", "a", "b", "c"))
    for offset in (2, 3):
        moves = [Move("u1", "s1", offset, NOW), Move("u2", "new", 0, NOW)] * 2
        await database.run(partial(participants.join, moves=moves))
        assert (await positions(database))["u1"] == 2
    assert (await unread(database))["u1"] == 1
    assert await positions(database, "new") == {"u2": 0}


@pytest.mark.gen_test
async def test_what_has_expired_is_unread_until_the_user_reads_on(database: Database) -> None:
    streams = StreamStore(database)
    await MemberStore(database).replace("s1", ["u1", "u2"], "boss", NOW)
    await streams.append(by("u9", *[f"m{number}" for number in range(10)]))
    while await streams.trim(4):
        pass
    assert (await unread(database))["u1"] == 10
    await mark(database, "u1", 2)  # of what is left, all is behind it
    assert (await positions(database))["u1"] == 2
    assert (await unread(database))["u1"] == 4
    await mark(database, "u1", 7)
    assert (await unread(database))["u1"] == 3


@pytest.mark.gen_test
async def test_what_went_with_its_message_or_by_its_own_time_is_no_hole(
    database: Database,
) -> None:
    streams = StreamStore(database)
    await MemberStore(database).replace("s1", ["u1"], "boss", NOW)
    revise = Revision("session:s1", "a", lambda _: Revised(b'{"message":{}}'))
    await streams.append(by("u9", "a"))
    await streams.append(by("u9", "b", "c"))
    record = Append("session:s1", "r", "message_updated", b"{}", NOW, NOW + 60, revision=revise)
    short = message("session:s1", "d", sender="u9", expires_at=NOW + 60, has_ttl=True)
    await streams.append([record, short, *by("u9", "e")])
    assert (await unread(database))["u1"] == 5
    while await streams.trim(5) or await streams.expire(NOW + 100):
        pass
    await mark(database, "u1", 2)
    assert (await unread(database))["u1"] == 2


@pytest.mark.gen_test
async def test_a_stream_that_begins_anew_has_nothing_unread(database: Database) -> None:
    streams = StreamStore(database)
    await MemberStore(database).replace("s1", ["u1"], "boss", NOW)
    await streams.append(by("u9", "a", "b"))
    later = NOW + 40 * 86_400
    while await streams.expire(later):
        pass
    assert (await streams.prune(later)).streams == 1
    assert await positions(database) == {"u1": 0, "u9": 0}
    await streams.append(by("u9", "c", at=later))
    assert await unread(database) == {"u1": 1, "u9": 0}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.lists(
                st.tuples(
                    st.sampled_from(SESSIONS),
                    st.sampled_from([*USERS, None]),
                    st.sampled_from(["new_message", "new_message", "custom"]),
                    st.sampled_from([None, None, ("u1",), ("u2", "u3")]),
                ),
                min_size=1,
                max_size=6,
            ),
        ),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(
            st.just("mark"),
            st.lists(
                st.tuples(st.sampled_from(SESSIONS), st.sampled_from(USERS), st.integers(0, 15)),
                min_size=1,
                max_size=4,
            ),
        ),
        st.tuples(st.just("members"), st.sampled_from(SESSIONS), st.sets(st.sampled_from(USERS))),
    ),
    max_size=15,
)


class Model:
    """Counts message by message."""

    def __init__(self) -> None:
        self.messages: dict[str, list[list[Any]]] = {session: [] for session in SESSIONS}
        """By session: id, sender, type, audience, whether deleted; the offset is its place."""
        self.rows: dict[tuple[str, str], list[Any]] = {}
        """By session and user: position, whether a member, whether a writer."""

    def unread(self) -> dict[tuple[str, str], int]:
        return {
            (session, user): sum(
                type_ == "new_message" and not deleted and (audience is None or user in audience)
                for _, _, type_, audience, deleted in self.messages[session][position:]
            )
            for (session, user), (position, *_) in self.rows.items()
            if self.messages[session]
        }


async def _run(steps: list[Any], database: Database) -> None:
    streams, members, model = StreamStore(database), MemberStore(database), Model()
    count = 0
    for kind, *rest in steps:
        if kind == "append":
            rows = []
            for session, sender, type_, audience in rest[0]:
                count += 1
                fields = {"sender": sender, "audience": audience and json.dumps(audience)}
                row = message(f"session:{session}", f"m{count}", **fields)
                rows.append(
                    Append(row.stream, row.message_id, type_, b"{}", NOW, NOW + 60, **fields)
                )
                model.messages[session].append([f"m{count}", sender, type_, audience, False])
                if sender is not None and type_ == "new_message":
                    place = model.rows.setdefault((session, sender), [0, False, False])
                    place[0], place[2] = len(model.messages[session]), True
            await streams.append(rows)
        elif kind == "delete":
            for session in SESSIONS:
                for each in model.messages[session]:
                    if each[0] == f"m{rest[0]}" and each[2] == "new_message":
                        each[4] = True
                        await delete(database, each[0], session)
        elif kind == "mark":
            moves = [Move(user, session, offset, NOW) for session, user, offset in rest[0]]
            await database.run(partial(participants.mark, moves=moves))
            for session, user, offset in rest[0]:
                place = model.rows.setdefault((session, user), [0, False, False])
                place[0] = max(place[0], min(offset, len(model.messages[session])))
        else:
            session, users = rest
            await members.replace(session, users, "boss", NOW)
            for user in USERS:
                former = model.rows.get((session, user))
                if user in users and (former is None or not former[1]):
                    has_written = former is not None and former[2]
                    end = len(model.messages[session])
                    model.rows[session, user] = [end, True, has_written]
                elif user not in users and former is not None and former[1]:
                    former[1] = False
                    if not former[2]:
                        del model.rows[session, user]
    found = {}
    for session in SESSIONS:
        for user, count in (await unread(database, session)).items():
            found[session, user] = count
    assert found == model.unread()
    for user in USERS:
        read = partial(participants.unread_of, user_id=user, admits=admits)
        of_user = {(u.session_id, user): u.unread for u in await database.read(read)}
        assert of_user == {pair: n for pair, n in found.items() if pair[1] == user}


@given(steps=STEPS)
def test_counts_agree_with_counting_message_by_message(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    async def run() -> None:
        path = tmp_path_factory.mktemp("unread") / "wsserver.sqlite3"
        database = SqliteDatabase(path, clock=Clock())
        await database.open()
        try:
            await _run(steps, database)
        finally:
            await database.close()

    asyncio.run(run())


@pytest.mark.sqlite_only
def test_members_and_writers_from_before_have_read_everything(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0053_participants")
        db.execute("INSERT INTO session_members VALUES ('s1', 'member', 'admin', 7.0)")
        db.execute("INSERT INTO session_members VALUES ('s2', 'member', 'admin', 8.0)")
        db.execute("INSERT INTO streams VALUES (1, 'session:s1', 'e', 9, 1, 2.0)")
        db.execute("INSERT INTO streams VALUES (2, 'user:u1', 'e', 5, 1, 2.0)")
        columns = "key, message_id, type, at, expires_at, has_ttl, sender, origin, payload"
        for key, type_, sender in (
            ((1 << 38) + 7, "new_message", "member"),
            ((1 << 38) + 8, "new_message", "writer"),
            ((1 << 38) + 9, "custom", "other"),
            ((2 << 38) + 5, "new_message", "sender"),
        ):
            db.execute(
                f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, 5.0, 9.0, 0, ?, '{{}}', x'')",
                [key, f"m{key}", type_, sender],
            )
        MIGRATIONS.apply(db)
        rows = db.execute(
            "SELECT session_id, user_id, read_offset, seen, is_member, has_written"
            " FROM participants ORDER BY 1, 2"
        ).fetchall()
        (place,) = db.execute("SELECT message_offset, message_at FROM streams WHERE id = 1")
    assert rows == [
        ("s1", "member", 9, 9, 1, 1),
        ("s1", "writer", 9, 9, 0, 1),
        ("s2", "member", 0, 0, 1, 0),
    ]
    assert place == (8, 5.0)
