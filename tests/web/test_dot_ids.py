"""The ids "." and "..", which no URL can hold: refused; rows that have them can be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.web_server import API, Server, start, token
from wsserver.identity.ids import ID_FORM, USER_ID_FORM

_ID_COLUMNS = (
    "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
    " WHERE m.type = 'table' AND c.name IN ('session_id', 'user_id')"
)


@pytest.mark.parametrize("id", [".", ".."])
@pytest.mark.gen_test
async def test_refused_wherever_an_id_is_given(server: Server, id: str) -> None:
    refused = await server.request("GET", f"{API}/whoami", bearer=token(id))
    assert (refused.status, refused.code) == (401, "token_invalid")
    assert USER_ID_FORM in refused.json()["detail"]
    for path, body, field, form in (
        ("/messages", {"target": {"type": "user", "id": id}}, "target.id", USER_ID_FORM),
        ("/messages", {"target": {"type": "session", "id": id}}, "target.id", USER_ID_FORM),
        ("/notify", {"user_ids": [id]}, "user_ids[0]", USER_ID_FORM),
        ("/tokens/revoke", {"user_id": id}, "user_id", USER_ID_FORM),
    ):
        answer = await server.post(path, **body)
        assert answer.status == 422
        assert {"field": field, "message": form} in answer.json()["errors"]
    listed = await server.get(f"/connections?user_id={id}")
    assert (listed.status, listed.json()["errors"][0]["message"]) == (400, USER_ID_FORM)
    socket = await server.connect("u1", sessions="*")
    socket.send(type="join_session", session_id=id)
    error = await socket.push("error")
    assert ID_FORM in str(error), error


@pytest.mark.gen_test
async def test_rows_with_such_ids_are_listed_and_do_not_prevent_a_start(tmp_path: Path) -> None:
    before = await start(tmp_path)
    await before.request(
        "PUT", f"{API}/sessions/s1/members", bearer=token(), user_ids=["old", "u2"]
    )
    await before.request("PATCH", f"{API}/sessions/s1", bearer=token(), title="kept")
    answer = await before.post(
        "/messages",
        type="new_message",
        target={"type": "session", "id": "s1"},
        keep=True,
        content="hello",
        sender={"user_id": "old"},
    )
    assert answer.status == 200, answer.json()
    epoch = answer.json()["epoch"]
    await before.stop()
    with closing(sqlite3.connect(tmp_path / "wsserver.sqlite3")) as db, db:
        db.execute("UPDATE streams SET name = 'session:..' WHERE name = 'session:s1'")
        for table, column in db.execute(_ID_COLUMNS).fetchall():
            db.execute(f"UPDATE {table} SET {column} = '..' WHERE {column} IN ('s1', 'old')")
    server = await start(tmp_path)
    try:
        found = (await server.get("/sessions?state=open")).json()["sessions"]
        assert [(each["session_id"], each["title"]) for each in found] == [("..", "kept")]
        assert sorted(found[0]["members"]) == ["..", "u2"]
        socket = await server.connect("u2")
        socket.send(type="conversations")
        listed = await socket.push("conversations")
        assert [each["session_id"] for each in listed["conversations"]] == [".."]
        reader = await server.connect("u3", sessions="*")
        reader.send(type="resume", streams={"session:..": {"epoch": epoch, "offset": 0}})
        kept = (await reader.push("resumed"))["streams"]["session:.."]["messages"]
        assert [each["message"]["content"] for each in kept] == ["hello"]
    finally:
        await server.stop()
