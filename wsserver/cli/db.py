"""The commands ``wsserver db``: check, backup, prune."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsserver.cli.common import (
    CommandFunction,
    ExitStatus,
    Group,
    config_flag,
    database_flag,
    echo,
    fail,
)

if TYPE_CHECKING:
    from wsserver.config import Settings

_output_flag = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Form of what is printed  [default: text]",
)


def _common_flags(command: CommandFunction) -> CommandFunction:
    for flag in (_output_flag, database_flag, config_flag):
        command = flag(command)
    return command


@click.group(cls=Group)
def db() -> None:
    """Check the database, back it up, prune it.

    \b
    Example:
      wsserver db check --config /etc/wsserver.toml
    """


@db.command()
@_common_flags
@click.option("--quick", is_flag=True, help="Do not compare indexes with their tables.")
def check(config_file: Path | None, database: str | None, output: str, quick: bool) -> None:
    """Check every page of the file and show its tables. Changes nothing; a server may be running.

    Exits with 78 for a file that is damaged, of a newer version, or not a database.

    \b
    Examples:
      wsserver db check
      wsserver db check --database /var/backups/wsserver.sqlite3 -o json
    """
    settings = _settings(config_file, database)
    from wsserver.cli import reports
    from wsserver.clock import Clock
    from wsserver.storage.maintenance.database_report import inspect_database

    with _faults_said():
        found = inspect_database(settings.database, Clock(), quick=quick)
    _print(output, reports.of_inspection(found), lambda: reports.inspection_text(found))
    if not found.ok:
        problems = "; ".join(found.problems)
        _say(f"database {found.database}: {problems}; {found.remedy}")
        sys.exit(ExitStatus.CONFIG)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@_common_flags
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def backup(
    file: Path, config_file: Path | None, database: str | None, output: str, force: bool
) -> None:
    """Copy the database to FILE and check the copy. A server may be running.

    \b
    Examples:
      wsserver db backup /var/backups/wsserver.sqlite3 --force
      wsserver db backup wsserver-$(date +%F).sqlite3 --config /etc/wsserver.toml
    """
    settings = _settings(config_file, database)
    from wsserver.cli import reports
    from wsserver.clock import Clock
    from wsserver.storage.maintenance.backup import back_up

    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _leave_nothing_behind)
    with _faults_said():
        made = back_up(settings.database, file, Clock(), force=force)
    _print(output, reports.of_backup(made), lambda: reports.backup_text(made))


@db.command()
@_common_flags
@click.option("--vacuum", is_flag=True, help="Give unused space back to the disk as well.")
def prune(config_file: Path | None, database: str | None, output: str, vacuum: bool) -> None:
    """Delete rows older than their retention. Only while no server is running.

    A running server does so every 10 minutes. --vacuum writes the file anew, which takes
    as much space again while it runs.

    \b
    Examples:
      wsserver db prune
      wsserver db prune --vacuum --config /etc/wsserver.toml
    """
    settings = _settings(config_file, database)
    import asyncio

    from wsserver.cli import reports
    from wsserver.clock import Clock
    from wsserver.storage.maintenance.pruning import prune as prune_database

    with _faults_said():
        done = asyncio.run(
            prune_database(
                settings.database,
                Clock(),
                snapshot_retention_days=settings.snapshot_retention_days,
                notification_retention_days=settings.notification_retention_days,
                stream_limit=settings.stream_limit,
                vacuum=vacuum,
            )
        )
    _print(output, reports.of_pruning(done), lambda: reports.pruning_text(done))


def _settings(config_file: Path | None, database: str | None) -> Settings:
    from wsserver.config import ConfigFaults, read_storage_settings

    try:
        return read_storage_settings(config_file, os.environ, {"database": database})
    except ConfigFaults as faults:
        fail(faults)


@contextmanager
def _faults_said() -> Iterator[None]:
    """Exit with one line on stderr: 78 for a file that cannot be used, 1 for a temporary error."""
    from wsserver.errors import WsServerError
    from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable

    try:
        yield
    except DatabaseInUse as fault:
        _say(
            f"database {fault.path}: a server is running on it and prunes it every 10"
            " minutes; nothing was done"
        )
        sys.exit(ExitStatus.FAILED)
    except DatabaseUnusable as fault:
        _say(str(fault))
        sys.exit(ExitStatus.CONFIG)
    except WsServerError as error:
        _say(str(error))
        sys.exit(ExitStatus.FAILED)


def _say(text: str) -> None:
    from wsserver.redaction import one_line

    click.echo(f"wsserver: {one_line(text)}", err=True)


def _print(output: str, document: dict[str, Any], text: Any) -> None:
    if output == "json":
        import json

        echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        echo(text())


def _leave_nothing_behind(number: int, frame: Any) -> None:
    """Exit as with Ctrl-C, so that the unfinished copy is removed."""
    sys.exit(ExitStatus.SIGNALLED + number)
