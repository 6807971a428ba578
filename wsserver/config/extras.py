"""Optional packages: are they there, and what of them has to be known at the start."""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from typing import Any

from wsserver.config.faults import Faulty

PACKAGES = {"email": "aiosmtplib", "push": "pywebpush", "apprise": "apprise", "postgres": "psycopg"}
"""Extra -> the package it installs."""


def require(extra: str) -> None:
    """Raise ``Faulty`` unless the extra is installed."""
    if find_spec(PACKAGES[extra]) is None:
        raise Faulty(
            f"needs the extra {extra}, which is not installed: pip install 'wsserver[{extra}]'"
        )


def load_apprise() -> Any:
    """Import apprise (0.2 s), and keep what it logs, with tokens in it, to itself."""
    apprise = importlib.import_module("apprise")
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return apprise
