"""The settings of one worker: its name, and its share of limits that are those of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from wsserver.config import Settings
from wsserver.config.settings import EXTENSION_TABLES, FIELDS
from wsserver.config.values import convert

DIVIDED_COUNTS = ("max_connections", "email_concurrency", "sms_concurrency", "push_concurrency")
"""Rounded up."""
DIVIDED_RATES = ("email_rate", "sms_rate", "push_rate")


def worker_names(settings: Settings) -> tuple[str, ...]:
    """Names of the workers' nodes: ``box/1``, ``box/2``, …"""
    return tuple(f"{settings.node}/{number}" for number in range(1, settings.workers + 1))


def worker_settings(settings: Settings, number: int, redis_url: str | None) -> Settings:
    """The settings of worker ``number``, from 1."""
    count = settings.workers
    divided: dict[str, Any] = {key: -(-getattr(settings, key) // count) for key in DIVIDED_COUNTS}
    divided |= {key: getattr(settings, key) / count for key in DIVIDED_RATES}
    return msgspec.structs.replace(
        settings,
        workers=1,
        node=worker_names(settings)[number - 1],
        redis_url=redis_url,
        **divided,
    )


def to_json(settings: Settings) -> dict[str, Any]:
    """Settings as JSON, with secrets: only for the channel to a worker."""
    values = msgspec.structs.asdict(settings)
    text = json.dumps(values, default=_path)
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def from_json(values: dict[str, Any]) -> Settings:
    """Settings of ``to_json``; keys of another version of the program are ignored."""
    known = {key: convert(key, value) for key, value in values.items() if key in FIELDS}
    return Settings(**known, extension_settings=values.get(EXTENSION_TABLES, {}))


def _path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not a value of a setting: {type(value).__name__}")
