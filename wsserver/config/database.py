"""The setting ``database_url``: where PostgreSQL is, checked without connecting."""

from __future__ import annotations

import importlib
from urllib.parse import urlsplit

from wsserver.config.channels import require
from wsserver.config.faults import Faulty

_FORM = "postgresql://USER@HOST:PORT/NAME?PARAMETER=VALUE"


def database_url(text: str) -> str:
    """Check ``database_url``; it is never quoted.

    Raises ``Faulty`` also if the extra ``postgres`` is not installed.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise Faulty(f"is not a URL: {_FORM}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise Faulty(f"must begin with postgresql://, as {_FORM}")
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
    return text
