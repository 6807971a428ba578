"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

config_flag = click.option(
    "--config",
    "config_file",
    # One that may not be read is a fault like others in it, not of the flag.
    type=click.Path(exists=True, dir_okay=False, readable=False, path_type=Path),
    metavar="FILE.toml",
    help="Read settings from this file.",
)
database_flag = click.option(
    "--database",
    metavar="FILE",
    help="SQLite file  [default: var/wsserver.sqlite3]",
)
