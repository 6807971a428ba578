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
    from wsserver.storage.engine.postgres.connecting import Server

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
@click.option("--quick", is_flag=True, help="Do not check indexes, the -wal file and stored files.")
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
        if settings.database_url is None:
            found = inspect_database(settings.database, Clock(), quick=quick)
        else:
            from wsserver.storage.maintenance.postgres import inspect_server

            found = inspect_server(_server(settings), Clock())
        if found.ok and not quick and any(table.name == "files" for table in found.tables):
            found.warnings += _stored_faults(settings)
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

    if settings.database_url is not None:
        from wsserver.storage.maintenance.postgres import backup_advice

        advice = backup_advice(settings.database_url, file)
        _say(f"PostgreSQL is backed up with its own tools: {advice}")
        sys.exit(ExitStatus.FAILED)
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
    from wsserver.storage.maintenance.pruning import DAY_S, RetentionLimits
    from wsserver.storage.maintenance.pruning import prune as prune_file

    archive_s = settings.archive_retention_days * DAY_S
    limits = RetentionLimits(
        settings.snapshot_retention_days,
        settings.notification_retention_days,
        settings.stream_limit,
        session_s=max(settings.stream_retention_s, archive_s),
        trims_sessions=archive_s == 0,
    )
    if settings.database_url is None:
        work = prune_file(settings.database, Clock(), limits, vacuum=vacuum)
    else:
        from wsserver.storage.engine.postgres.database import PostgresDatabase
        from wsserver.storage.maintenance.postgres import prune_server

        database_ = PostgresDatabase(
            settings.database_url, password_file=settings.database_password_file, clock=Clock()
        )
        work = prune_server(database_, Clock(), limits, vacuum=vacuum)
    with _faults_said(is_pruning=True):
        done = asyncio.run(work)
    _print(output, reports.of_pruning(done), lambda: reports.pruning_text(done))


@db.command()
@click.option("--to", "url", required=True, help="URL of an empty PostgreSQL database.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="File with the password: in the URL, other users of this machine see it.",
)
@_common_flags
def copy(
    url: str,
    password_file: Path | None,
    config_file: Path | None,
    database: str | None,
    output: str,
) -> None:
    """Copy the SQLite database to PostgreSQL. Only while no server is running on either.

    Ids, offsets and epochs stay as they are, so clients resume where they were. The target must
    be empty. If it is interrupted, nothing is copied.

    \b
    Example:
      wsserver db copy --to postgresql://wsserver@db.example/wsserver --password-file password
    """
    settings = _settings(config_file, database)
    from wsserver.cli import reports
    from wsserver.clock import Clock
    from wsserver.config import check_database_url
    from wsserver.config.faults import Faulty, NotInstalled

    try:
        check_database_url(url)
    except Faulty as fault:
        _say(f"--to: {fault}")
        is_of_installation = isinstance(fault, NotInstalled)
        sys.exit(ExitStatus.CONFIG if is_of_installation else ExitStatus.USAGE)
    from wsserver.extension_registry import extension_schemas
    from wsserver.storage.engine.postgres.connecting import Server
    from wsserver.storage.maintenance.copying import copy_database

    with _faults_said():
        made = copy_database(
            settings.database, Server(url, password_file), Clock(), extension_schemas(settings)
        )
    _print(output, reports.of_copy(made), lambda: reports.copy_text(made))


def _stored_faults(settings: Settings) -> list[str]:
    """Faults of what extensions store outside of the database."""
    from contextlib import closing

    from wsserver.extension_registry import check_stored
    from wsserver.storage.engine.check import open_untouched

    if settings.database_url is not None:
        server_connection = _server(settings).connect()
        with closing(server_connection) as db:
            return check_stored(settings, lambda sql, values: db.execute(sql, values).fetchall())
    with closing(open_untouched(settings.database)) as connection:
        return check_stored(
            settings, lambda sql, values: connection.execute(sql, values).fetchall()
        )


def _server(settings: Settings) -> Server:
    from wsserver.storage.engine.postgres.connecting import Server

    assert settings.database_url is not None  # noqa: S101 - the caller has looked
    return Server(settings.database_url, settings.database_password_file)


def _settings(config_file: Path | None, database: str | None) -> Settings:
    from wsserver.config import ConfigFaults, read_storage_settings

    try:
        return read_storage_settings(config_file, os.environ, {"database": database})
    except ConfigFaults as faults:
        fail(faults)


@contextmanager
def _faults_said(*, is_pruning: bool = False) -> Iterator[None]:
    """Exit with one line on stderr: 78 for a file that cannot be used, 1 for a temporary error."""
    from wsserver.errors import WsServerError
    from wsserver.storage.engine.errors import HELD_BY_CLUSTER, DatabaseInUse, DatabaseUnusable

    try:
        yield
    except DatabaseInUse as fault:
        if is_pruning:
            who = "a server is running on it and prunes it"
            if fault.problem == HELD_BY_CLUSTER[0]:
                who = "servers of a cluster are running on it and prune it"
            _say(f"database {fault.path}: {who} every 10 minutes; nothing was done")
        else:
            _say(f"{fault}; nothing was done")
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
