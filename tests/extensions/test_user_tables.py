"""Rows about users in the tables of the built-in extensions: exported and erased."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from msgspec.json import decode, encode

from tests.support.built_in import EXTENSIONS
from wsserver.extensions.accounts.store import remove_contents
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps
from wsserver.storage.maintenance import user_tables
from wsserver.storage.maintenance.erasure import UserErasure
from wsserver.storage.maintenance.user_data import UserData

NOW = 1_700_000_000.0
TABLES = EXTENSIONS.user_tables
_TASK = (
    "task_id, title, steps, state, is_open, step, progress, version, assigned_user, session_id,"
    " metadata, created_at, created_by, updated_at, request"
)
_QUOTA = (
    "scope, unit, amount_limit, period, timezone, at_limit, period_key, starts_at, used, cost,"
    " told, budget_told, has_news, pushed_at, push_due, is_exhausted, updated_at, updated_by"
)


def _task(id_: str, user: str | None, by: str, request: str | None = None) -> list[Any]:
    rest = ["s1", '{"a":1}', NOW, by, NOW, request]
    return [id_, "T", '[{"title":"a"}]', "running", 1, 0, 0.0, 1, user, *rest]


def _quota(scope: str, by: str) -> list[Any]:
    rest = [NOW, 1, 0, 0, 0, 0, NOW, 0, 0, NOW, by]
    return [scope, "tokens", 9, "day", "UTC", "warn", "d", *rest]


ROWS: dict[str, tuple[str, list[list[Any]]]] = {
    "tasks": (
        _TASK,
        [
            _task("t1", "u1", "u2"),
            _task("t2", "u2", "u1", "key of u1"),
            _task("t3", "u1", "u1", "another key of u1"),
            _task("t4", "u10", "u2", "key of u2"),
        ],
    ),
    "task_history": (
        "task_id, version, at, changed_by, changes, note",
        [
            [id_, number, NOW, user, '{"step":1}', f"note of {user}"]
            for id_ in ("t1", "t4")
            for number, user in enumerate(("u1", "u2", "u10", "u1"), start=1)
        ],
    ),
    "quotas": (
        _QUOTA,
        [
            _quota("user:u1", "u2"),
            _quota("user:u2", "u1"),
            _quota("user:u10", "u2"),
            _quota("organization:u1", "u2"),
        ],
    ),
    "quota_usage": (
        "id, at, scope, unit, amount, cost, source, session_id, message_id, reported_by, request",
        [
            [id_, NOW, scope, "tokens", 5, 1, "ai", "s1", f"m{id_}", by, f"{by} {id_}"]
            for id_, (scope, by) in enumerate(
                [
                    ("user:u1", "bot"),
                    ("user:u2", "bot"),
                    ("user:u2", "u1"),
                    ("organization:u1", "u1"),
                    ("user:u1", "u1"),
                ],
                start=1,
            )
        ],
    ),
    "quota_usage_hours": (
        "scope, hour, source, amount, cost, reports",
        [[scope, 3600, "ai", 5, 1, 1] for scope in ("user:u1", "user:u10", "organization:u1")],
    ),
    "account_sessions": (
        "session_id, account, contact, active_at",
        [["gewe:a:u1", "a", "u1", NOW], ["gewe:a:u2", "a", "u2", NOW]],
    ),
    "account_outbox": (
        "message_id, account, session_id, contact, sender, content, at, due_at, state",
        [
            [id_, "a", f"gewe:a:{contact}", contact, sender, b'{"content":"c"}', NOW, NOW, state]
            for id_, contact, sender, state in (
                ("m1", "u1", "u2", "sent"),
                ("m2", "u2", "u1", "pending"),
                ("m3", "u2", None, "pending"),
                ("m4", "u2", "u10", "dead"),
            )
        ],
    ),
    "responder_turns": (
        "session_id, responder, due, due_at, question",
        [[id_, "ai", 1, NOW, b'{"text":"your name?"}'] for id_ in ("s1", "s2", "s3")]
        + [["s4", "ai", 1, NOW, None]],
    ),
    "calls": (
        "call_id, session_id, is_open, caller_id, caller_connection, created_at, call",
        [
            [id_, "s1", 0, caller, "conn_1", NOW, f'{{"rung":["{rung}"]}}']
            for id_, caller, rung in (("c1", "u1", "u2"), ("c2", "u2", "u1"), ("c3", "u2", "u10"))
        ],
    ),
    "call_users": (
        "call_id, user_id",
        [["c1", "u1"], ["c1", "u2"], ["c2", "u1"], ["c2", "u2"], ["c3", "u2"], ["c3", "u10"]],
    ),
    "participants": (
        "user_id, session_id, start_offset, read_offset, seen, read_at, is_member, has_joined,"
        " has_written",
        [
            [user, session, 0, 0, 0, NOW, 0, 1, has_written]
            for user, session, has_written in (
                ("u1", "s1", 1),
                ("u1", "s2", 0),
                ("u1", "s4", 1),
                ("u2", "s3", 1),
            )
        ],
    ),
}
EXPORTED = {
    "tasks": 3,
    "task_history": 4,
    "quotas": 1,
    "quota_usage": 4,
    "quota_usage_hours": 1,
    "account_sessions": 1,
    "account_outbox": 2,
    "responder_turns": 1,
    "calls": 2,
}
ERASED = {**EXPORTED, "quotas": 2, "call_users": 4}


@pytest.fixture(
    params=[1, pytest.param(2, marks=pytest.mark.long), 100], ids=lambda size: f"{size} at once"
)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that see one row, two, or all of them."""
    monkeypatch.setattr(user_tables, "SCAN_ROWS", request.param)
    monkeypatch.setattr(user_tables, "BATCH_ROWS", request.param)


async def fill(database: Database) -> None:
    def insert(db: Connection) -> None:
        apply_steps(db, database.KIND, EXTENSIONS.schemas, NOW)
        for table, (columns, rows) in ROWS.items():
            db.insert(table, columns, rows)

    await database.run(insert)


async def exported(database: Database, user_id: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    async for table, rows in UserData(database, TABLES).rows(user_id):
        if table != "participants":
            found.setdefault(table, []).extend(rows)
    return found


async def texts(database: Database) -> dict[str, str]:
    """All that is stored, by table."""

    def read(db: Connection) -> dict[str, str]:
        return {
            table: repr(db.execute(f"SELECT * FROM {table}").fetchall())
            for table in ROWS
            if table != "participants"
        }

    return await database.read(read)


@pytest.mark.gen_test
@pytest.mark.usefixtures("sizes")
async def test_rows_of_a_user_are_exported_and_none_of_others(database: Database) -> None:
    await fill(database)
    found = await exported(database, "u1")
    assert Counter({table: len(rows) for table, rows in found.items()}) == EXPORTED
    whole = decode(encode(found))
    assert [row["task_id"] for row in whole["tasks"]] == ["t1", "t2", "t3"]
    assert whole["tasks"][0]["steps"] == [{"title": "a"}]
    assert {row["note"] for row in whole["task_history"]} == {"note of u1"}
    assert whole["task_history"][0]["at"] == "2023-11-14T22:13:20.000Z"
    assert whole["account_outbox"][0]["content"] == {"content": "c"}
    assert whole["responder_turns"] == [
        {"session_id": "s1", "responder": "ai", "question": {"text": "your name?"}}
    ]
    assert await exported(database, "u") == {}


@pytest.mark.gen_test
@pytest.mark.usefixtures("sizes")
async def test_an_erased_user_is_in_no_row_and_others_stay(database: Database) -> None:
    await fill(database)
    others = {user: await exported(database, user) for user in ("u2", "u10", "bot")}
    erased = await UserErasure(database, TABLES).erase("u1", NOW)
    assert {table: erased[table] for table in ERASED} == ERASED
    assert await exported(database, "u1") == {}
    organization = re.compile(r"'organization:u1'")
    for table, text in (await texts(database)).items():
        assert re.search(r"\bu1\b", organization.sub("", text)) is None, (table, text)
    after = {user: await exported(database, user) for user in others}
    for user, tables in after.items():
        for table, rows in tables.items():
            lost = len(others[user][table]) - len(rows)
            # What others have reported about the user, written to them, or talked with them.
            gone = {("bot", "quota_usage"): 1, ("u2", "account_outbox"): 2, ("u2", "calls"): 2}
            assert lost == gone.get((user, table), 0), (user, table)
    again = await UserErasure(database, TABLES).erase("u1", NOW)
    assert {table: count for table, count in again.items() if count and table in ERASED} == {}


@pytest.mark.gen_test
async def test_the_position_of_usage_reports_stays(database: Database) -> None:
    await fill(database)
    await UserErasure(database, TABLES).erase("u1", NOW)
    rows = await database.read(
        lambda db: db.execute(
            "SELECT id, scope, amount, reported_by FROM quota_usage ORDER BY id"
        ).fetchall()
    )
    assert list(map(tuple, rows)) == [
        (2, "user:u2", 5, "bot"),
        (3, "user:u2", 5, ""),
        (4, "organization:u1", 5, ""),
        (5, "", 0, ""),
    ]


@pytest.mark.gen_test
async def test_a_deleted_message_leaves_the_outbox(database: Database) -> None:
    await fill(database)
    await database.run(lambda db: remove_contents(db, ["m1", "m3", "m9"]))
    rows = await database.read(
        lambda db: db.execute("SELECT message_id FROM account_outbox ORDER BY id").fetchall()
    )
    assert [id_ for (id_,) in rows] == ["m2", "m4"]


def test_every_table_with_users_is_declared() -> None:
    """A column of an extension's table that may have a user's id is in a declared condition."""
    names = r"\b(\w*user\w*|contact|sender|\w+_by|question|content|note)\b (?:TEXT|BLOB)"
    declared = {table.table: "" for table in TABLES}
    for table in TABLES:
        declared[table.table] += f" {table.where} {table.columns} {table.change}"
    found = 0
    for schema in EXTENSIONS.schemas:
        for step in schema.migrations:
            for statement in step.statements:
                created = re.search(r"CREATE TABLE (\w+)", statement)
                for column in re.findall(names, statement) if created else ():
                    found += 1
                    assert created is not None
                    assert re.search(rf"\b{column}\b", declared.get(created[1], "")), column
    assert found >= 9
