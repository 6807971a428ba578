"""Settings as they may be shown to a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wsserver.config.settings import SECRETS, Settings

MASK = "********"


def masked(settings: Settings, sources: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return key → ``{"value": …, "source": …}``, fit for JSON, in the order of the fields.

    Secrets are ``********``; a URL loses its user name, password and query values. ``sources`` is
    that of ``Loaded``; a key that it lacks says ``default``.
    """
    shown = {}
    for key, value in msgspec.structs.asdict(settings).items():
        source = (sources or {}).get(key, "default")
        shown[key] = {"value": _presentable(key, value), "source": source}
    return shown


def _presentable(key: str, value: Any) -> Any:
    if key in SECRETS:
        return MASK if value else None
    if key == "jwks_url" and value:
        return _without_credentials(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {name: list(entries) for name, entries in value.items()}
    return value


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{MASK if userinfo else ''}{at}{place}", query=MASK if parts.query else ""
    ).geturl()
