"""Fixtures: databases of both kinds, and whole servers."""

from __future__ import annotations

from tests.storage.conftest import database, engine, make_database, path, pytest_generate_tests
from tests.web.conftest import server, start_server

__all__ = [
    "database",
    "engine",
    "make_database",
    "path",
    "pytest_generate_tests",
    "server",
    "start_server",
]
