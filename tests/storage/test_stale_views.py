"""Messages whose sender has not seen what others wrote before, in the database and in one batch."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tests.support.message_rows import NOW, several
from wsserver.errors import StaleView
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import revisions, stale_views
from wsserver.storage.messages.message_rows import Append, Appended, Revised, Revision, View
from wsserver.storage.messages.streams import StreamStore

S1 = "session:s1"


def view(user: str, seen: int, budget: int = 100_000) -> View:
    return View(user, seen, lambda audience: audience is None or user in audience, budget)


def message(id_: str, sender: str, seen: int | None = None, **fields: Any) -> Append:
    """A message by a sender who has seen everything up to an offset."""
    fields.setdefault("payload", json.dumps({"type": "new_message", "id": id_}).encode())
    return Append(
        S1,
        id_,
        fields.pop("type", "new_message"),
        at=NOW,
        expires_at=NOW + 60,
        sender=sender,
        view=None if seen is None else view(sender, seen, fields.pop("budget", 100_000)),
        **fields,
    )


def missed(place: Appended) -> list[str] | None:
    """The ids of what the sender has missed; None: the message was stored."""
    if place.refusal is None:
        return None
    assert isinstance(place.refusal, StaleView)
    assert place.refusal.meaning.temporary
    pushes = [json.loads(bytes(raw)) for raw in place.refusal.details["missed"]]
    assert [push["offset"] for push in pushes] == sorted(push["offset"] for push in pushes)
    assert all(push["stream"] == S1 and push["epoch"] for push in pushes)
    return [push["id"] for push in pushes]


async def append(database: Database, *messages: Append) -> list[list[str] | None]:
    return [missed(place) for place in await StreamStore(database).append(messages)]


@pytest.mark.gen_test
async def test_a_later_message_of_somebody_else_refuses_it(database: Database) -> None:
    await append(database, message("a", "u1"), message("b", "u2"), message("c", "u1"))
    assert await append(database, message("x", "u1", 0)) == [["b"]]
    assert await append(database, message("x", "u2", 0)) == [["a", "c"]]
    assert await append(database, message("x", "u3", 1)) == [["b", "c"]]
    assert (await StreamStore(database).head(S1)).offset == 3
    for seen in (2, 3, 4, 2**53):
        assert await append(database, message(f"y{seen}", "u1", seen)) == [None]
    assert await append(database, message("first", "u1", 0, payload=b"{}")) == [["b"]]


@pytest.mark.gen_test
async def test_what_comes_before_in_the_same_batch_counts(database: Database) -> None:
    assert await append(
        database,
        message("a", "u1", 0),
        message("b", "u2", 0),
        message("c", "u1", 0),
        message("d", "u3", 2),
        message("e", "u3", 1),
        message("f", "u3", 3),
    ) == [None, ["a", "c", "d", "f"], None, None, ["c"], None]
    assert await append(database, message("g", "u1", 2), message("h", "u2", 4)) == [
        ["d", "f", "h"],
        None,
    ]


@pytest.mark.gen_test
async def test_only_messages_for_the_sender_that_are_not_deleted_count(
    database: Database,
) -> None:
    streams = StreamStore(database)
    await streams.append([
        message("custom", "u2", type="order.shipped"),
        message("hidden", "u2", audience='["u3"]'),
        message("gone", "u2", payload=b'{"message":{}}'),
    ])  # fmt: skip
    deletion = Revision(S1, "gone", lambda _: Revised(b'{"message":{"deleted":true}}', NOW))
    await database.run(partial(revisions.revise, revisions=[deletion]))
    assert await append(database, message("a", "u1", 0)) == [None]
    assert await append(database, message("b", "u3", 0)) == [["hidden", "a"]]


@pytest.mark.gen_test
async def test_the_newest_twenty_within_the_budget(database: Database) -> None:
    ids = [f"m{number:02}" for number in range(30)]
    await StreamStore(database).append([message(id_, "u2") for id_ in ids])
    assert await append(database, message("x", "u1", 0)) == [ids[10:]]
    one = len(message("m00", "u2").payload)
    assert await append(database, message("x", "u1", 0, budget=3 * one)) == [ids[27:]]
    assert await append(database, message("x", "u1", 0, budget=-5)) == [ids[29:]]


@pytest.mark.gen_test
async def test_a_repeated_message_has_the_first_one_s_answer(database: Database) -> None:
    key = ("client:u1", "c1")
    first = message("a", "u1", 0, dedup=key)
    (place,) = await StreamStore(database).append([first])
    await append(database, message("b", "u2"))
    (again,) = await StreamStore(database).append([message("a2", "u1", 0, dedup=key)])
    assert again == place._replace(is_new=False)
    (refused,) = await StreamStore(database).append([message("c", "u1", 0, dedup=("s", "k"))])
    assert missed(refused) == ["b"]
    (stored,) = await StreamStore(database).append([message("d", "u1", 2, dedup=("s", "k"))])
    assert stored.is_new


@pytest.mark.gen_test
async def test_a_view_far_behind_looks_at_the_latest_messages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_views, "LOOKED_AT", 3)
    streams = StreamStore(database)
    await streams.append(several(S1, "a", "b", "c", "d", sender="u1"))
    await streams.append([message("e", "u2"), message("f", "u1")])
    assert await append(database, message("x", "u1", 0)) == [["e"]]
