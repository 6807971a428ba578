"""The same rows, exported from a running server and from its file, are the same to the byte."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.operators.conftest import Run
from tests.support.notification_rows import delivery, notification
from tests.support.server_process import ServerProcess
from wsserver.clock import Clock
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.snapshots import DAY_S, FIELDS, Snapshots

START = 1_700_000_000.0
LATER = 2.0**33
"""So that the server leaves everything as it is."""
ROWS = 1200
"""More than a page of the API."""


async def fill(path: Path) -> None:
    """Two days of two nodes; the first hours have become means."""
    chance = random.Random(7835)
    moments = [
        START + 0.7835,
        START + 0.9999996,
        *(START + chance.random() * 2 * DAY_S for _ in range(ROWS)),
    ]
    database = SqliteDatabase(path, clock=Clock())
    await database.open()
    snapshots = Snapshots(database)
    await asyncio.gather(
        *(
            snapshots.add(
                {
                    "timestamp": at,
                    "node": chance.choice(["n1", "节点"]),
                    "sequence": number,
                    **{name: chance.randrange(10**9) for name in FIELDS},
                    "uptime_s": chance.random() * 1e6,
                    "deliver_p99_s": chance.random() * 1e-5,
                    "version": "1.0",
                }
            )
            for number, at in enumerate(moments)
        )
    )
    await snapshots.prune(START + 1.25 * DAY_S, 1)
    await asyncio.gather(*(fill_one(database, chance, number) for number in range(ROWS)))
    await database.run(settle_some)
    await database.close()


async def fill_one(database: Database, chance: random.Random, number: int) -> None:
    """An entry of the audit trail, and a notification by two channels."""
    at = START + chance.random() * 2 * DAY_S
    audit = AuditLog(database)
    audit.record(
        AuditEntry(
            at=at, actor="张三", role="admin", action="notify", detail={"n": number, "zwei": "ä\n"}
        )
    )
    audit.close()
    template = chance.choice([None, "device_status"])
    await NotificationStore(database).accept(
        notification(
            f"notify_{number}",
            delivery(
                f"msg_{number}", f"u{number % 7}", "websocket", due_at=LATER, expires_at=LATER
            ),
            delivery(f"mail_{number}", f"u{number % 7}", state=chance.choice(["failed", "sent"])),
            at=at,
            template=template,
            content='{"device_id": "=1", "n": [1.5, null]}'
            if template
            else '{"title": "标题", "message": "M\\n", "action_url": null}',
            organization_id=chance.choice([None, "acme"]),
        )
    )


def settle_some(db: Connection) -> None:
    """Attempts; and ends, in another order than that of the beginnings."""
    db.execute(
        "INSERT INTO attempts SELECT id, 1, sent_at, 'sent', 'taken' FROM ("
        "SELECT id, 1.5 * id AS sent_at FROM deliveries WHERE id % 3 = 0)"
    )
    for rest in (2, 0, 1):
        db.execute(
            "UPDATE deliveries SET state = 'read', sent_at = 1700000000.0009, due_at = NULL,"
            " acknowledged_at = 1700000001.5, unless_acknowledged = 1,"
            " reason = 'daily_digest'"
            " WHERE channel = 'websocket' AND id / 2 % 4 = ?",
            [rest],
        )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(fill(folder / "history.db"))
    env = {"WSSERVER_SNAPSHOT_INTERVAL_S": "86400", "WSSERVER_NOTIFICATION_RETENTION_DAYS": "9999"}
    with ServerProcess(
        folder, "--dev", "--database", "history.db", env=env, is_preloaded=True
    ) as server:
        yield server


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson"])
@pytest.mark.parametrize(
    "what",
    [("stats",), ("stats", "--step", "7m"), ("audit",), ("notifications",)],
    ids=["stats", "steps", "audit", "notifications"],
)
def test_the_api_and_the_file_give_the_same_bytes(
    run: Run, filled: ServerProcess, tmp_path: Path, format_: str, what: tuple[str, ...]
) -> None:
    times = ("--since", "2023-11-15T01:00:00+01:00", "--until", "2023-11-16T10:30:00Z")
    from_api, from_file = both(run, filled, tmp_path, *what, *times, "--format", format_)
    assert from_api.read_bytes() == from_file.read_bytes()
    assert 300 < len(from_api.read_text().splitlines()) < 2.2 * ROWS


@pytest.mark.parametrize(
    "what",
    [("stats",), ("stats", "--step", "7m"), ("audit",), ("notifications",)],
    ids=["stats", "steps", "audit", "notifications"],
)
@pytest.mark.parametrize("since", [(), ("--since", "2023-11-15")], ids=["all", "since"])
def test_so_do_the_first_runs_with_a_state(
    run: Run, filled: ServerProcess, tmp_path: Path, what: tuple[str, ...], since: tuple[str, ...]
) -> None:
    states = [tmp_path / "1.state", tmp_path / "2.state"]
    from_api, from_file = both(run, filled, tmp_path, *what, *since, states=states)
    assert from_api.read_bytes() == from_file.read_bytes()
    assert len(from_api.read_text().splitlines()) > 200
    marks = [json.loads(state.read_text())["mark"] for state in states]
    assert marks[0] == marks[1]
    # Each goes on where the other one has ended, and finds nothing.
    from_api, from_file = both(run, filled, tmp_path, *what, states=states[::-1])
    assert [len(path.read_text().splitlines()) for path in (from_api, from_file)] == [1, 1]


def both(
    run: Run, server: ServerProcess, folder: Path, *what: str, states: Sequence[Path] = ()
) -> list[Path]:
    """The same export from the API and from the file, each in silence."""
    asked = ("--url", server.url, "--token", server.token())
    database = ("--database", str(server.folder / "history.db"))
    outs = []
    for number, (before, after) in enumerate(((asked, ()), ((), database))):
        outs.append(folder / str(number))
        state = ("--since-last", str(states[number])) if states else ()
        result = run(*before, "export", *what, *after, *state, "--out", str(outs[-1]))
        assert (result.exit_code, result.output) == (0, "")
    return outs
