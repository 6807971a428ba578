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
    store = server.system.manager.sessions.positions._store
    move, may_move, is_asked = store.move, asyncio.Event(), asyncio.Event()

    async def slow(*given: Any) -> Any:
        is_asked.set()
        await may_move.wait()
        return await move(*given)

    monkeypatch.setattr(store, "move", slow)
    socket = await server.connect("u1", sessions=["s1"])
    socket.send(type="join_session", session_id="s1")
    await socket.push("session_joined")
    socket.send(type="conversations", ref=7)
    await is_asked.wait()
    may_move.set()
    reply = await socket.push("conversations")
    assert [each["session_id"] for each in reply["conversations"]] == ["s1"]
