"""Exit codes and the exceptions that lead to them."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any, ClassVar

import click

from wsctl.text import one_line


class ExitStatus(IntEnum):
    """Exit codes of ``wsctl``."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_PERMITTED = 4
    BUSY = 75
    INTERRUPTED = 130


class Failed(click.ClickException):
    """An operation failed; printed as one line on stderr."""

    exit_code: ClassVar[int] = ExitStatus.FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as one line, even if the server's text has several."""
        click.echo(f"wsctl: {one_line(self.message)}", file=file, err=file is None)


class NotFound(Failed):
    """The server answered 404."""


class BadUsage(Failed):
    """Invalid option, environment variable or input file."""

    exit_code = ExitStatus.USAGE


class Busy(Failed):
    """Another process holds the lock (``EX_TEMPFAIL`` of sysexits.h)."""

    exit_code = ExitStatus.BUSY


class Unreachable(Failed):
    """No server answered in time."""

    exit_code = ExitStatus.UNREACHABLE


class NotPermitted(Failed):
    """The token is missing or refused (401, 403)."""

    exit_code = ExitStatus.NOT_PERMITTED
