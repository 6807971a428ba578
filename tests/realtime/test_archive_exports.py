"""Exports of messages: whose they are, and in which version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Client, Live
from wsserver.errors import BadRequest, Forbidden
from wsserver.protocol.targets import session
from wsserver.realtime.access import tenancy
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.messages.message import Message
from wsserver.realtime.operations import message_exports
from wsserver.realtime.operations.message_exports import ArchiveExports
from wsserver.storage.messages.message_exports import MessageExports, Selection


@pytest.fixture
def exports(live: Live) -> ArchiveExports:
    return ArchiveExports(MessageExports(live.database), live.permissions, live.tenancy, live.clock)


async def speaker(live: Live, user: str, session_id: str, organization_id: str | None) -> Client:
    return await live.in_session(user, session_id, organization_id=organization_id)


async def say(client: Client, session_id: str, *texts: str) -> list[str]:
    answers = [
        await client.call("send_message", session_id=session_id, content=text) for text in texts
    ]
    return [answer["message_id"] for answer in answers]


async def exported(
    exports: ArchiveExports,
    actor: Actor,
    selection: Selection = Selection(),  # noqa: B008 - it is a value
    limit: int = 1000,
    **which: Any,
) -> list[Any]:
    """The contents of all pages."""
    found: list[Any] = []
    cursor = None
    which = {"session_id": None, "organization_id": None, **which}
    while True:
        rows, cursor = await exports.page(actor, selection, limit=limit, cursor=cursor, **which)
        assert len(rows) <= limit
        found += [row["content"] for row in rows]
        if cursor is None:
            return found


@pytest.mark.gen_test
async def test_who_exports_gets_the_sessions_of_its_organization(
    live: Live, exports: ArchiveExports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy, "SESSIONS_AT_ONCE", 2)
    monkeypatch.setattr(message_exports, "SESSIONS_AT_ONCE", 2)
    for number in range(7):
        organization_id = "o1" if number in (2, 6) else "o2"
        client = await speaker(live, f"u{number}", f"s{number}", organization_id)
        await say(client, f"s{number}", f"{number}a", f"{number}b")
    admin, manager = live.actor(), live.actor("manager", "m", organization_id="o1")
    for limit in (1, 3, 100):
        assert len(await exported(exports, admin, limit=limit)) == 14
        assert await exported(exports, manager, limit=limit) == ["2a", "2b", "6a", "6b"]
        of_one = await exported(exports, admin, limit=limit, organization_id="o1")
        assert of_one == ["2a", "2b", "6a", "6b"]
    assert await exported(exports, manager, session_id="s6") == ["6a", "6b"]
    assert await exported(exports, admin, organization_id="o3") == []
    outside: list[dict[str, Any]] = [
        {"session_id": "s1"},
        {"session_id": "never"},
        {"organization_id": "o2"},
    ]
    for which in outside:
        with pytest.raises(Forbidden):
            await exported(exports, manager, **which)
    with pytest.raises(Forbidden):
        await exported(exports, manager, Selection(sender="u1"))
    assert await exported(exports, manager, Selection(sender="u2")) == ["2a", "2b"]
    assert await exported(exports, admin, Selection(sender="u1")) == ["1a", "1b"]
    with pytest.raises(Forbidden):
        await exported(exports, live.actor("user", "u1"))


@pytest.mark.gen_test
async def test_what_is_for_another_organization_alone_is_not_a_managers(
    live: Live, exports: ArchiveExports
) -> None:
    client = await speaker(live, "u1", "s1", "o1")
    await say(client, "s1", "for all")
    await live.router.send(
        Message(
            "new_message",
            {"session_id": "s1", "message": {"content": "for o2"}},
            session("s1"),
            organization_id="o2",
            keep=True,
        )
    )
    manager = live.actor("manager", "m1", organization_id="o1")
    assert await exported(exports, manager) == ["for all"]
    assert await exported(exports, live.actor()) == ["for all", "for o2"]


@pytest.mark.gen_test
async def test_messages_are_in_their_newest_version_and_deleted_ones_say_nothing(
    live: Live, exports: ArchiveExports
) -> None:
    client = await speaker(live, "u1", "s1", None)
    edited, deleted = await say(client, "s1", "frist", "SECRET")
    await client.call("edit_message", message_id=edited, content="first")
    await client.call("delete_message", message_id=deleted)
    rows, cursor = await exports.page(
        live.actor(), Selection(), session_id="s1", organization_id=None, limit=100, cursor=None
    )
    assert cursor is None
    assert [(row["offset"], row["content"], row["edited_by"]) for row in rows] == [
        (1, "first", "u1"),
        (2, None, None),
    ]
    assert [row["deleted"] for row in rows] == [False, True]
    assert "SECRET" not in str(rows)
    assert "frist" not in str(rows)


@pytest.mark.gen_test
@pytest.mark.parametrize("cursor", ["", "x", "WzFd!", "Wy0xXQ", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ"])
async def test_a_cursor_that_is_none_is_named(
    exports: ArchiveExports, live: Live, cursor: str
) -> None:
    with pytest.raises(BadRequest):
        await exports.page(
            live.actor(), Selection(), session_id=None, organization_id=None, limit=1, cursor=cursor
        )
