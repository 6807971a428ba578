"""Times as text; a wall clock that is set centuries off."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from math import inf, nextafter
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.sync.client import connect

from tests.support.server_process import LOOPS_ONE_LONG, ROOT, ServerProcess
from tests.support.waiting import PATIENCE_S
from wsctl.times import rfc3339 as shown_by_wsctl
from wsserver.clock import rfc3339, widen_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1619, "2023-11-14T22:13:20.161Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (1_700_000_000.9999998, "2023-11-14T22:13:20.999Z"),
        (1_700_000_000.161, "2023-11-14T22:13:20.161Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_what_is_beyond_a_millisecond_is_cut_by_server_and_wsctl_alike(
    seconds: float, text: str
) -> None:
    assert rfc3339(seconds) == shown_by_wsctl(seconds) == text


@given(st.floats(0, 4e9))
@example(1_700_000_000.7835)
@example(1_700_000_000.9999996)
def test_server_and_wsctl_write_every_moment_alike(seconds: float) -> None:
    assert rfc3339(seconds) == shown_by_wsctl(seconds)


@given(st.integers(-(10**12), 4 * 10**12), st.integers(-3, 3))
def test_a_text_is_read_as_the_last_millisecond_that_is_not_after_its_moment(
    millis: int, ulps: int
) -> None:
    seconds = millis / 1000
    for _ in range(abs(ulps)):
        seconds = nextafter(seconds, inf if ulps > 0 else -inf)
    text = rfc3339(seconds)
    read = datetime.fromisoformat(text).timestamp()
    assert read == (millis if ulps >= 0 else millis - 1) / 1000
    assert rfc3339(read) == text


def test_every_millisecond_stays_what_it_is() -> None:
    for millis in range(1000):
        text = f"2024-02-29T23:59:59.{millis:03d}Z"
        assert rfc3339(datetime.fromisoformat(text).timestamp()) == text


def test_times_that_cannot_be_written_are_shown_as_the_nearest() -> None:
    assert rfc3339(300 * 365.25 * 86_400 + 1.7e9).startswith("2323-")
    assert rfc3339(-300 * 365.25 * 86_400 + 1.7e9).startswith("1723-")
    assert rfc3339(1e15) == "9999-12-31T23:59:59.000Z"
    assert rfc3339(-1e15) == "1000-01-01T00:00:00.000Z"


def test_the_wall_clock_goes_on_past_2262(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.time)  # both are put back at the end
    monkeypatch.setattr(time, "time_ns", time.time_ns)
    widen_time()
    assert abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 60
    assert abs(time.time_ns() / 1e9 - time.time()) < 60


FAKED_CLOCK = """
import os, time

real = time.clock_gettime

def clock_gettime(clock):
    now = real(clock)
    if clock == time.CLOCK_REALTIME and os.path.exists("offset"):
        now += float(open("offset").read())
    return now

def overflowing():
    now = clock_gettime(time.CLOCK_REALTIME)
    if now * 1e9 >= 2**63:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    return now

time.clock_gettime, time.time, time.time_ns = clock_gettime, overflowing, overflowing
"""
YEAR_S = 365.25 * 86_400


@pytest.mark.parametrize("loop", LOOPS_ONE_LONG)
def test_a_clock_that_jumps_by_centuries_does_not_end_the_server(tmp_path: Path, loop: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAKED_CLOCK)
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "WSSERVER_SNAPSHOT_INTERVAL_S": "0.2"}
    with ServerProcess(tmp_path, "--dev", loop=loop, env=env) as server:
        for years in (300, -300, 0):
            (tmp_path / "new").write_text(str(years * YEAR_S))
            (tmp_path / "new").rename(tmp_path / "offset")
            server.send_signal(signal.SIGUSR1)
            century = (datetime.now(UTC).year + years) // 100
            server.wait_for(rf'"timestamp": "{century}.*SIGUSR1')
            with urlopen(f"{server.url}/api/v1/websocket/health") as answer:  # loopback
                assert answer.status == 200
            token = server.token("u1", "user", exp=12 * 10**9)
            with connect(server.websocket("/ws/chat", token)) as client:
                assert (
                    json.loads(client.recv(timeout=PATIENCE_S))["type"] == "connection_established"
                )
        assert server.stop() == 0
    assert "Traceback" not in "\n".join(server.lines)
