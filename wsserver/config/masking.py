"""Secrets in the settings: settings masked for people, and the texts that logs must not show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from wsserver.addresses.redis import parse_redis_url
from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file, read_password, secret_bytes
from wsserver.config.settings import EXTENSION_TABLES, SECRETS, URLS, Settings
from wsserver.config.tables import is_secret, leaves, names_secret

MASK = "********"


def masked(settings: Settings, sources: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return key → ``{"value": …, "source": …}``, fit for JSON, in the order of the fields.

    Secrets are ``********``; so are the parts of a URL that may be one: user name, password and
    query, for webhooks also the path, for apprise all but the scheme; and the values of
    ``sms_headers``. ``sources`` is that of ``Loaded``; a key that it lacks says ``default``. Values
    in tables of extensions have dotted keys: ``responders.fastgpt.url``.
    """
    shown = {}
    for key, value in msgspec.structs.asdict(settings).items():
        source = (sources or {}).get(key, "default")
        if key != EXTENSION_TABLES:
            shown[key] = {"value": _presentable(key, value), "source": source}
    for name, table in settings.extension_settings.items():
        for path, value in leaves(table, name):
            source = (sources or {}).get(path, "default")
            shown[path] = {"value": _of_extension(path, value), "source": source}
    return shown


def _of_extension(path: str, value: Any) -> Any:
    if is_secret(path):
        return MASK if value else None
    if isinstance(value, str) and re.match(r"[a-z][a-z0-9+.-]*://", value):
        return _url(path, value)
    return value


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
    if key in ("webhook_urls", "publish_hook_url") and parts.path not in ("", "/"):
        parts = parts._replace(path=f"/{MASK}")
    userinfo, at, place = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{MASK if userinfo else ''}{at}{place}", query=MASK if parts.query else ""
    ).geturl()


SHORTEST_WORD = 6
SHORTEST = 4
"""Shorter words would be found in harmless text, too."""

_HARMLESS_HEADERS = frozenset({"content-type", "accept", "user-agent"})


def secret_texts(settings: Settings) -> list[str]:
    """Secrets, and every word that may be one: in URLs, headers and bodies of templates.

    Raises ``Faulty`` for a ``jwt_secret_file`` that cannot be read.
    """
    found = {(secret_bytes(settings) or b"").decode("utf-8", "replace")}
    secrets = (settings.webhook_secret, settings.vapid_private_key, settings.turn_secret)
    found.update(filter(None, secrets))
    if settings.smtp_url:
        password = urlsplit(settings.smtp_url).password or ""
        found.update((password, unquote(password)))
    if settings.database_url:
        parts = urlsplit(settings.database_url)
        found.update((parts.password or "", unquote(parts.password or "")))
        found.add(dict(parse_qsl(parts.query)).get("password", ""))
    if settings.redis_url:
        address = parse_redis_url(settings.redis_url)
        found.add(urlsplit(settings.redis_url).netloc.rpartition("@")[0].partition(":")[2])
        for password in (address.password or "", address.sentinel_password or ""):
            found.update((password, quote(password, safe="")))
    for file in (settings.database_password_file, settings.redis_password_file):
        if file is not None:
            found.add(read_password(file))
    words = [*_words_of_gateway(settings), *_words_of_extensions(settings)]
    for url in settings.apprise_urls:
        words += re.split(r"[/:@?&=]+", url.partition("://")[2])
    for url in (*settings.webhook_urls, settings.publish_hook_url or ""):
        words += _words_of_url(url)
    found.update(word for word in words if len(word) >= SHORTEST_WORD and "{" not in word)
    return sorted(each for each in found if len(each) >= SHORTEST)


def _words_of_gateway(settings: Settings) -> Iterator[str]:
    if settings.sms_url:
        yield from (value for _, value in parse_qsl(urlsplit(settings.sms_url).query))
    for name, value in settings.sms_headers.items():
        if name.lower() not in _HARMLESS_HEADERS:
            yield value
            yield from value.split()
    if settings.sms_body:
        yield from re.split(r"[^A-Za-z0-9+/_.~{}-]+", settings.sms_body)


def _words_of_extensions(settings: Settings) -> Iterator[str]:
    for path, value in leaves(settings.extension_settings, ""):
        if isinstance(value, str) and is_secret(path):
            yield value
        elif isinstance(value, str) and names_secret(path):
            try:
                yield read_key_file(Path(value)).decode("utf-8", "replace").strip()
            except Faulty:  # the extension reports it
                continue


def _words_of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield from parts.path.split("/")
    yield from (value for _, value in parse_qsl(parts.query))
