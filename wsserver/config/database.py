"""The setting ``database_url``: where PostgreSQL is, checked without connecting."""

from __future__ import annotations

import importlib
import re
from urllib.parse import urlsplit

from wsserver.config.channels import require
from wsserver.config.faults import Faulty

_FORM = "postgresql://USER@HOST:PORT/NAME?PARAMETER=VALUE"


def database_url(text: str) -> str:
    """Check ``database_url``; it is never quoted.

    Raises ``Faulty``; ``NotInstalled`` if the extra ``postgres`` is not installed.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise Faulty(f"is not a URL: {_FORM}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise Faulty(f"must begin with postgresql://, as {_FORM}")
    if _has_second_at(text):  # the library takes what follows the first for the host
        raise Faulty(f"has a second @; in user and password it is written %40: {_FORM}")
    require("postgres")
    psycopg = importlib.import_module("psycopg")
    try:
        known = importlib.import_module("psycopg.conninfo").conninfo_to_dict(text)
    except psycopg.Error:  # its text may quote the password
        raise Faulty(
            f"is not a URL that PostgreSQL's library accepts: {_FORM}, with user and password"
            " percent-encoded and parameters of libpq"
        ) from None
    if not known.get("dbname"):
        raise Faulty(f"names no database: {_FORM}")
    ports = filter(None, str(known.get("port") or "").split(","))
    if not all(map(_is_port, ports)):  # perhaps a part of a password that was not encoded
        raise Faulty(f"has a port that is not a number from 1 to 65535: {_FORM}")
    return text


def _has_second_at(text: str) -> bool:
    """Whether the host has an ``@``: its part of the URL ends with ``/`` or ``?``."""
    user, _, host = text.partition("://")[2].partition("@")
    return "/" not in user and "@" in re.split("[/?]", host, maxsplit=1)[0]


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535
