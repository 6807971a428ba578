"""The limits of a recording on one node."""

from __future__ import annotations

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.realtime.operations import recording_buffer
from wsserver.realtime.operations.recording_buffer import RecordingBuffer, Wanted


def test_nothing_is_added_after_the_first_event_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording_buffer, "BYTES_LIMIT", 2000)
    wanted = Wanted("rec_1", "u1", None, False, None, "admin", 0.0, 60.0)
    buffer = RecordingBuffer(wanted, FakeClock())
    for number, size in enumerate((10, 5000, 10)):
        buffer.add("in", "conn_1", {"type": f"t{number}", "frame": {"text": "x" * size}})
    assert [event["type"] for event in buffer.page(0, 10)] == ["t0"]
    assert buffer.is_full
