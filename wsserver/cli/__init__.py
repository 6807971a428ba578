"""The command ``wsserver``."""

from __future__ import annotations

from wsserver.cli.commands import main
from wsserver.cli.common import ExitStatus

__all__ = ["ExitStatus", "main"]
