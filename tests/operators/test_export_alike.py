"""The same history, exported from a running server and from its file, is the same to the byte."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operators.conftest import Run
from tests.operators.processes import ServerProcess
from wsserver.clock import Clock
from wsserver.storage.database import Database
from wsserver.storage.means import FIELDS
from wsserver.storage.snapshots import DAY_S, Snapshots

START = 1_700_000_000.0
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
    database = Database(path, clock=Clock())
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
    await database.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(fill(folder / "history.db"))
    with ServerProcess(folder, "--dev", "--database", "history.db") as server:
        yield server


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson"])
@pytest.mark.parametrize("step", [(), ("--step", "7m")], ids=["all", "steps"])
def test_the_api_and_the_file_give_the_same_bytes(
    run: Run, filled: ServerProcess, tmp_path: Path, format_: str, step: tuple[str, ...]
) -> None:
    export = ("export", "stats", "--since", "2023-11-14", "--until", "2023-11-18", *step)
    export += ("--format", format_, "--out")
    from_api, from_file = tmp_path / "api", tmp_path / "file"
    asked = ("--url", filled.url, "--token", filled.token())
    assert run(*asked, *export, str(from_api)).output == ""
    database = str(filled.folder / "history.db")
    assert run(*export, str(from_file), "--database", database).output == ""
    assert from_api.read_bytes() == from_file.read_bytes()
    assert len(from_api.read_text().splitlines()) > 500
