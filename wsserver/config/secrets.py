"""The texts in the settings that no log and no answer may show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from wsserver.config.files import read_key_file, secret_bytes
from wsserver.config.settings import Settings

SHORTEST_WORD = 6
SHORTEST = 4
"""What is shorter would be found in harmless text, too."""

_HARMLESS_HEADERS = frozenset({"content-type", "accept", "user-agent"})


def secret_texts(settings: Settings) -> list[str]:
    """Every secret, and every word that may be one: of URLs, headers and bodies of templates.

    Raises ``Faulty`` for a ``jwt_secret_file`` that cannot be read.
    """
    found = {(secret_bytes(settings) or b"").decode("utf-8", "replace")}
    found.update(filter(None, (settings.webhook_secret, settings.vapid_private_key)))
    if settings.smtp_url:
        password = urlsplit(settings.smtp_url).password or ""
        found.update((password, unquote(password)))
    if settings.database_url:
        password = urlsplit(settings.database_url).password or ""
        found.update((password, unquote(password)))
        found.update(
            value
            for _, value in parse_qsl(urlsplit(settings.database_url).query)
            if _ == "password"
        )
    if settings.database_password_file is not None:
        found.add(_password_of(settings.database_password_file))
    words = [*_words_of_gateway(settings)]
    for url in settings.apprise_urls:
        words += re.split(r"[/:@?&=]+", url.partition("://")[2])
    for url in settings.webhook_urls:
        words += _words_of_url(url)
    found.update(word for word in words if len(word) >= SHORTEST_WORD and "{" not in word)
    return sorted(each for each in found if len(each) >= SHORTEST)


def _password_of(file: Path) -> str:
    return read_key_file(file).decode("utf-8", "replace").strip()


def _words_of_gateway(settings: Settings) -> Iterator[str]:
    if settings.sms_url:
        yield from (value for _, value in parse_qsl(urlsplit(settings.sms_url).query))
    for name, value in settings.sms_headers.items():
        if name.lower() not in _HARMLESS_HEADERS:
            yield value
            yield from value.split()
    if settings.sms_body:
        yield from re.split(r"[^A-Za-z0-9+/_.~{}-]+", settings.sms_body)


def _words_of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield from parts.path.split("/")
    yield from (value for _, value in parse_qsl(parts.query))
