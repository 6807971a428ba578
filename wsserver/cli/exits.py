"""How the command ends, and what it says then."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from wsserver.config import ConfigFaults


class ExitStatus(IntEnum):
    """How the command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 78
    """A fault in the file or the environment, or in what they name (EX_CONFIG of sysexits.h)."""
    SIGNALLED = 128
    """Plus the signal's number, as a shell has it: 143 for SIGTERM."""


def fail(faults: ConfigFaults) -> NoReturn:
    """End with every fault on stderr: as a usage error if only flags are to blame.

    ``--database`` is not one of them: what is wrong is the file that it names.
    """
    print_faults(faults)
    flags_alone = all(
        fault.source.startswith("flag") and fault.key != "database" for fault in faults.faults
    )
    sys.exit(ExitStatus.USAGE if flags_alone else ExitStatus.CONFIG)


def print_faults(faults: ConfigFaults) -> None:
    """Every fault on a line of its own, on stderr."""
    for fault in faults.faults:
        click.echo(f"wsserver: config: {fault}", err=True)
