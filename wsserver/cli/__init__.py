"""The command line ``wsserver``: ``serve``, ``config`` and ``db``."""

from __future__ import annotations

from wsserver.cli.commands import main
from wsserver.cli.common import ExitStatus

__all__ = ["ExitStatus", "main"]
