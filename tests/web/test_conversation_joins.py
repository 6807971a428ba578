"""A session that a user has just joined is in the list of conversations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.web_server import Server


@pytest.mark.gen_test
async def test_what_was_just_joined_is_listed_once_it_is_stored(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = server.system.manager.sessions.positions
    store = positions._store
    move, settle = store.move, positions.settle
    may_move, is_asked = asyncio.Event(), asyncio.Event()

    async def slow_move(*given: Any) -> Any:
        await may_move.wait()
        return await move(*given)

    async def noted_settle(user_id: str) -> None:
        is_asked.set()
        await settle(user_id)

    monkeypatch.setattr(store, "move", slow_move)
    monkeypatch.setattr(positions, "settle", noted_settle)
    socket = await server.connect("u1", sessions=["s1"])
    socket.send(type="join_session", session_id="s1")
    await socket.push("session_joined")
    socket.send(type="conversations", ref=7)
    await is_asked.wait()
    may_move.set()
    reply = await socket.push("conversations")
    assert [each["session_id"] for each in reply["conversations"]] == ["s1"]
