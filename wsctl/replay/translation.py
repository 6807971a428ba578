"""``Translation``: ids and positions of a recording as those of the server of a replay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

_SESSION_OFFSETS = ("offset", "seen_offset", "before", "after")


class Translation:
    """Learns from pairs of answers, the recorded one and the one that came now.

    ``suffix`` makes ``client_message_id`` new, so that a second replay does not get the answers of
    the first one.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._ids: dict[str, str] = {}
        self._epochs: dict[str, str] = {}
        self._offsets: dict[str, dict[int, int]] = {}

    def learn(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Compare two answers to the same command or publication."""
        for name in ("message_id", "id", "call_id", "task_id"):
            self._pair(recorded.get(name), now.get(name))
        stream = now.get("stream") or recorded.get("stream")
        if stream is None and isinstance(session_id := recorded.get("session_id"), str):
            stream = f"session:{session_id}"
        if isinstance(stream, str):
            self._learn_position(stream, recorded, now)
        before, after = recorded.get("streams"), now.get("streams")
        if isinstance(before, dict) and isinstance(after, dict):
            for name, position in before.items():
                if isinstance(position, dict) and isinstance(after.get(name), dict):
                    self._learn_position(name, position, after[name])

    def command(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        """A recorded command for the server of now."""
        made: dict[str, Any] = {name: self._value(value) for name, value in frame.items()}
        if isinstance(given := frame.get("client_message_id"), str):
            made["client_message_id"] = (given + self._suffix)[-128:]
        session_id, stream = frame.get("session_id"), frame.get("stream")
        if stream is None and isinstance(session_id, str):
            stream = f"session:{session_id}"
        if isinstance(stream, str):
            for name in _SESSION_OFFSETS:
                if isinstance(offset := frame.get(name), int):
                    made[name] = self._offset(stream, offset)
            if isinstance(since := frame.get("since"), dict):
                made["since"] = self._position(stream, since)
        if isinstance(streams := frame.get("streams"), dict):
            made["streams"] = {
                name: self._position(name, each) if isinstance(each, dict) else each
                for name, each in streams.items()
            }
        return made

    def _pair(self, recorded: Any, now: Any) -> None:
        if isinstance(recorded, str) and isinstance(now, str):
            self._ids[recorded] = now

    def _learn_position(
        self, stream: str, recorded: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        before, after = recorded.get("epoch"), now.get("epoch")
        if isinstance(before, str) and isinstance(after, str):
            self._epochs[before] = after
        old, new = recorded.get("offset"), now.get("offset")
        if isinstance(old, int) and isinstance(new, int):
            self._offsets.setdefault(stream, {})[old] = new

    def _offset(self, stream: str, offset: int) -> int:
        """The offset that corresponds; between known ones, that of the last one before."""
        known = self._offsets.get(stream)
        if not known:
            return offset
        if offset in known:
            return known[offset]
        olds = sorted(known)
        place = bisect_right(olds, offset)
        return known[olds[place - 1]] if place else 0

    def _position(self, stream: str, position: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(position)
        if isinstance(epoch := position.get("epoch"), str):
            made["epoch"] = self._epochs.get(epoch, epoch)
        if isinstance(offset := position.get("offset"), int):
            made["offset"] = self._offset(stream, offset)
        return made

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._ids.get(value, value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        return value
