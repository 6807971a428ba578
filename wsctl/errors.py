"""Exit codes, each with the error that leads to it."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any, ClassVar

import click

from wsctl.text import one_line


class ExitStatus(IntEnum):
    """What the shell sees."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_PERMITTED = 4
    BUSY = 75
    INTERRUPTED = 130


class Failed(click.ClickException):
    """It was tried and did not work; shown as one line on stderr."""

    exit_code: ClassVar[int] = ExitStatus.FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as one line, whatever the server put into it."""
        click.echo(f"wsctl: {one_line(self.message)}", file=file, err=file is None)


class NotFound(Failed):
    """The server knows nothing of that name (404)."""


class BadUsage(Failed):
    """Something in the call, the environment or a named file cannot be meant."""

    exit_code = ExitStatus.USAGE


class Busy(Failed):
    """Another process is at it just now (``EX_TEMPFAIL`` of sysexits.h)."""

    exit_code = ExitStatus.BUSY


class Unreachable(Failed):
    """No server answered in time."""

    exit_code = ExitStatus.UNREACHABLE


class NotPermitted(Failed):
    """The server, or the lack of a token, says no (401, 403)."""

    exit_code = ExitStatus.NOT_PERMITTED
