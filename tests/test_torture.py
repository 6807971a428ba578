"""The reliability test finds nothing in a short run, and finds injected faults."""

from __future__ import annotations

import importlib.util
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.streams import Append, StreamStore

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="binds processes to cores"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("picows", "uvloop")),
        reason="needs the packages of the extra bench",
    ),
]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.reliability", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        pytest.param(
            ["--only", "kill", "--rounds", "4"],
            ["kill: 4 times SIGKILL", "acknowledged and lost ", "stored twice"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            ["--only", "jitter"],
            ["jitter: 50 clients", "deliveries ", "connect and replay, ms, p99"],
            marks=pytest.mark.long,
        ),
        (["--only", "resume"], ["resume: 50 clients", "one session, after a restart: ms"]),
        pytest.param(
            ["--only", "reads"],
            ["reads: 30 messages of 1 MB", "a page of 1000 over REST: MiB more", "delayed by: ms"],
            marks=pytest.mark.long,
        ),
    ],
    ids=["kill", "jitter", "resume", "reads"],
)
def test_a_short_run_keeps_every_promise(words: list[str], rows: list[str]) -> None:
    done = run("--quick", "--seed", "7", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    for row in [*rows, "passed"]:
        assert row in done.stdout
    assert "Traceback" not in done.stderr
    assert "--seed 7" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "faults",
    [
        ["empty-valkey", "cut-subscribers", "restart-postgres"],
        ["kill-admitting", "kill-node", "wrong-clock"],
        ["delay-network", "reset-network", "half-open-network"],
    ],
    ids=["servers", "nodes", "networks"],
)
def test_a_short_run_of_a_cluster_keeps_every_promise(faults: list[str]) -> None:
    chosen = [word for name in faults for word in ("--fault", name)]
    done = run("cluster", "--quick", "--seed", "4", "--nodes", "2", "--rounds", "3", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    for row in [
        "cluster: 2 nodes, one Valkey, 3 faults under load",
        "acknowledged and lost ",
        "subscribers that were not brought up to date ",
        "times    well  listed  outage  waited",
        "false refusals, lists, missing ends ",
        "resumes at a node with another content ",
        "passed",
    ]:
        assert row in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.gen_test
@pytest.mark.parametrize("is_refused", [True, False])
async def test_what_comes_before_a_refused_resume_is_no_gap(
    monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    from scripts.reliability import cluster_clients as clients
    from scripts.reliability.client import Connection, Gone
    from scripts.reliability.journal import Journal

    class Node(Connection):
        """Joins at offset 2; message 3 comes before the answer to the resume."""

        async def call(self, type_: str, **members: Any) -> dict[str, Any]:
            if type_ == "join_session":
                return {"epoch": "epoch_1", "offset": 2}
            push = {"type": "x", "id": "m3", "epoch": "epoch_1", "offset": 3}
            self._pushed(json.dumps({**push, "stream": "session:s1"}).encode())
            self.ended.set()
            return {"error": "storage_unavailable"} if is_refused else {"streams": {}}

    async def opened(url: str, user_id: str, on_push: Callable[[bytes], None]) -> Node:
        return Node(on_push)

    monkeypatch.setattr(Connection, "open", opened)
    journal = Journal()
    cluster = cast("Any", None)
    subscriber = clients.Subscriber("listener", cluster, journal, random.Random(1))
    if is_refused:
        with pytest.raises(Gone):
            await subscriber._follow(cast("Any", SimpleNamespace(socket_url="ws://node")))
    else:
        await subscriber._follow(cast("Any", SimpleNamespace(socket_url="ws://node")))
    assert len(journal.findings.other) == (0 if is_refused else 1)


class TestTimes:
    """A time belongs to the fault during which, or after which, it began."""

    def test_the_longest_of_each_kind(self) -> None:
        from scripts.reliability.cluster_times import FaultTimes, Times

        now = 0.0
        times = Times(lambda: now)
        began = times.began()
        now = 1.0
        times.acknowledged(began)  # before the first fault
        assert times.by_fault == {}
        now = 2.0
        times.fault("kill-node")
        now = 5.0
        times.acknowledged(1.5)
        times.well(2.0)
        times.fault("stop-node")
        now = 6.0
        times.acknowledged(5.5)
        times.well(0.5)
        now = 7.0
        times.fault("kill-node")
        times.well(1.0)
        assert times.by_fault == {
            "kill-node": FaultTimes(2, until_well_s=2.0, outage_s=4.0, waited_s=3.5),
            "stop-node": FaultTimes(1, until_well_s=0.5, outage_s=1.0, waited_s=0.5),
        }


@pytest.mark.parametrize("words", [["--only", "sleep"], ["--rounds", "0"], ["--rounds", "x"]])
def test_what_is_no_torture_is_refused(words: list[str]) -> None:
    assert run(*words).returncode == 2


class TestJournal:
    """What the torture would say of a database that has lost something."""

    @staticmethod
    async def fill(path: Path, clock: FakeClock, *keys: str) -> list[tuple[str, str, str, int]]:
        """Keep messages as the publishers of the torture do; returns their places."""
        database = SqliteDatabase(path, clock=clock)
        await database.open()
        batch = [
            Append(
                "session:s1",
                f"msg_{number}",
                "news",
                b'{"data":"%b"}' % key.encode(),
                clock.wall(),
                clock.wall() + 86_400,
            )
            for number, key in enumerate(keys)
        ]
        answers = await StreamStore(database).append(batch)
        await database.close()
        return [(a.message_id, a.stream, a.epoch, a.offset) for a in answers]

    @pytest.mark.gen_test
    async def test_a_whole_file_is_found_to_be_whole(
        self, tmp_path: Path, clock: FakeClock
    ) -> None:
        from scripts.reliability.journal import Journal, Position, SqliteRows

        path = tmp_path / "wsserver.sqlite3"
        journal = Journal()
        for key, position in zip("ab", await self.fill(path, clock, "a", "b"), strict=True):
            journal.acknowledge(journal.begin(key, "session:s1"), Position(*position))
        journal.begin("c", "session:s1")  # on its way when the server was killed, and not stored
        journal.check(SqliteRows(path))
        journal.check(SqliteRows(path))
        assert journal.findings.all == []
        assert (journal.rows, journal.acknowledged, len(journal.unknown())) == (2, 2, 1)

    @pytest.mark.gen_test
    @pytest.mark.parametrize(
        ("damage", "kind"),
        [
            ("DELETE FROM messages WHERE message_id = 'msg_2'", "lost"),
            ("DELETE FROM messages WHERE message_id = 'msg_1'", "lost other"),
            ("UPDATE messages SET message_id = 'msg_9' WHERE message_id = 'msg_1'", "lost"),
            ("UPDATE messages SET payload = CAST('{\"data\":\"a\"}' AS BLOB)"
             " WHERE message_id = 'msg_1'", "doubled lost"),
            ("UPDATE streams SET epoch = 'epoch_other'", "lost"),
            ("DELETE FROM messages; DELETE FROM streams", "lost"),
        ],
    )  # fmt: skip
    async def test_what_is_missing_is_found_to_be_missing(
        self, tmp_path: Path, clock: FakeClock, damage: str, kind: str
    ) -> None:
        from scripts.reliability.journal import Journal, Position, SqliteRows

        path = tmp_path / "wsserver.sqlite3"
        journal = Journal()
        for key, position in zip("abc", await self.fill(path, clock, "a", "b", "c"), strict=True):
            journal.acknowledge(journal.begin(key, "session:s1"), Position(*position))
        with closing(sqlite3.connect(path)) as db:
            db.executescript(damage)
        journal.check(SqliteRows(path))
        findings = journal.findings
        found = {"lost": findings.lost, "doubled": findings.doubled, "other": findings.other}
        assert {name for name, faults in found.items() if faults} == set(kind.split())

    def test_two_answers_to_one_key_are_found(self) -> None:
        from scripts.reliability.journal import Journal, Position

        journal = Journal()
        entry = journal.begin("a", "session:s1")
        for offset in (1, 1, 2):
            journal.acknowledge(entry, Position("msg_1", "session:s1", "epoch_1", offset))
        assert len(journal.findings.doubled) == 1


def test_a_limit_that_is_passed_is_shown_and_decides() -> None:
    from scripts.reliability.report import Verdict, percentile

    verdict = Verdict("kill: once")
    verdict.figure("messages published", 12_345)
    verdict.limit("acknowledged and lost", 0, 0)
    assert verdict.is_good
    assert verdict.text().splitlines()[-1] == "  passed"
    verdict.limit("ready after, ms", 3001, 3000)
    assert not verdict.is_good
    lines = verdict.text().splitlines()
    assert "12,345" in lines[1]
    assert lines[3].endswith("3,001   at most 3,000   NOT KEPT")
    assert lines[-1] == "  FAILED"
    assert [percentile([4, 1, 3, 2], share) for share in (0, 50, 99)] == [1, 3, 4]
    assert percentile([], 50) == 0
