"""Parts shared by the commands: standard streams, exit statuses, options."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

import click


class ClosedOutput(io.TextIOBase):
    """Replacement of a standard output that the caller has closed (``>&-``): writing fails.

    Python has None there, on which nothing fails.
    """

    def write(self, text: str, /) -> int:
        """Raise ``OutputFailed``, unless there is nothing to write."""
        if text:
            raise OutputFailed("standard output is closed")
        return 0

    def writable(self) -> bool:
        """As files have it."""
        return True


class OutputFailed(click.ClickException):
    """Standard output cannot be written; shown as one line on stderr, exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        click.echo(f"wsserver: cannot write the output: {self.message}", err=True)


def import_quickly() -> None:
    """Switch the garbage collector off, until the server runs: it takes a sixth of the imports."""
    gc.disable()


def replace_closed_streams() -> None:
    """Replace closed standard streams, before anything is opened.

    The descriptors 0, 1 and 2 are opened on ``/dev/null``, else the database or a client's socket
    gets one of them. What is written to a closed standard error, as the log is, is dropped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free one, which is this
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end


class _WithOutput(click.Command):
    """Replaces closed streams; one line on stderr where ``--help`` could not be written."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options; ``--help`` and ``--version`` print here."""
        replace_closed_streams()
        with _output():
            return super().make_context(*args, **kwargs)


class Command(_WithOutput):
    """One command."""


class Group(_WithOutput, click.Group):
    """A command with others below it."""

    command_class = Command
    group_class = type


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """Turn errors of a full disk into one line on stderr; a closed pipe ends quietly."""
    try:
        yield
    except BrokenPipeError:
        raise  # click's own answer: quietly, with 1
    except OSError as error:
        raise OutputFailed(error.strerror or str(error)) from None


def echo(text: str) -> None:
    """Print a line of a command's answer on standard output."""
    with _output():
        click.echo(text)


if TYPE_CHECKING:
    from wsserver.config import ConfigFaults


class ExitStatus(IntEnum):
    """Exit status of the command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 78
    """A fault in the file or the environment, or in what they name (EX_CONFIG of sysexits.h)."""
    SIGNALLED = 128
    """Plus the signal's number, as a shell has it: 143 for SIGTERM."""


def fail(faults: ConfigFaults) -> NoReturn:
    """Exit with every fault on stderr: with 2 if all are faults of flags, else with 78.

    A fault of ``--database`` is one of the file that it names, so 78; so is a package that is not
    installed.
    """
    print_faults(faults)
    flags_alone = all(
        fault.source.startswith("flag") and fault.key != "database" and not fault.is_of_installation
        for fault in faults.faults
    )
    sys.exit(ExitStatus.USAGE if flags_alone else ExitStatus.CONFIG)


def print_faults(faults: ConfigFaults) -> None:
    """Print every fault on stderr, a line each."""
    for fault in faults.faults:
        click.echo(f"wsserver: config: {fault}", err=True)


CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])

config_flag = click.option(
    "--config",
    "config_file",
    # A file without read permission is a fault of the configuration, not of the flag.
    type=click.Path(exists=True, dir_okay=False, readable=False, path_type=Path),
    metavar="FILE.toml",
    help="Read settings from this file.",
)
database_flag = click.option(
    "--database", metavar="FILE", help="SQLite file  [default: var/wsserver.sqlite3]"
)
