"""Loads settings in tests: with a secret, from text of a file, the environment and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wsserver.config import (
    ConfigFaults,
    Fault,
    Settings,
    load_settings,
)

SECRET = "s" * 32
CANARY = "canary-7d1f0c"


def load(
    toml: str = "", env: Mapping[str, str] | None = None, dev: bool = False, **flags: Any
) -> Settings:
    """Load with a secret, so that tests need not care."""
    environ = {"WSSERVER_JWT_SECRET": SECRET, "HOME": "/"} | dict(env or {})
    file = None
    if toml:
        file = Path("wsserver.toml")
        file.write_text(toml, encoding="utf-8")
    return load_settings(file, environ, flags, dev)


def faults_of(toml: str = "", env: Mapping[str, str] | None = None, **more: Any) -> list[Fault]:
    with pytest.raises(ConfigFaults) as caught:
        load(toml, env, **more)
    return caught.value.faults
