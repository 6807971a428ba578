"""Settings as they may be shown to a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wsserver.config.settings import SECRETS, URLS, Settings

MASK = "********"


def masked(settings: Settings, sources: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return key → ``{"value": …, "source": …}``, fit for JSON, in the order of the fields.

    Secrets are ``********``; so are the parts of a URL that may be one: user name, password and
    query, for webhooks also the path, for apprise all but the scheme; and the values of
    ``sms_headers``. ``sources`` is that of ``Loaded``; a key that it lacks says ``default``.
    """
    shown = {}
    for key, value in msgspec.structs.asdict(settings).items():
        source = (sources or {}).get(key, "default")
        shown[key] = {"value": _presentable(key, value), "source": source}
    return shown


def _presentable(key: str, value: Any) -> Any:
    if key in SECRETS:
        return MASK if value else None
    if key in URLS and value:
        return [_url(key, each) for each in value] if isinstance(value, tuple) else _url(key, value)
    if key == "sms_headers":
        return dict.fromkeys(value, MASK)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {name: list(entries) for name, entries in value.items()}
    return value


def _url(key: str, url: str) -> str:
    if key == "apprise_urls":  # its host may be the token
        return f"{url.partition('://')[0]}://{MASK}"
    parts = urlsplit(url)
    if key == "webhook_urls" and parts.path not in ("", "/"):
        parts = parts._replace(path=f"/{MASK}")
    userinfo, at, place = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{MASK if userinfo else ''}{at}{place}", query=MASK if parts.query else ""
    ).geturl()
