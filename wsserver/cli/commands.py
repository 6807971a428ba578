"""The commands ``wsserver serve`` and ``wsserver config``."""

from __future__ import annotations

import json
import os
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
    import_quickly,
    print_faults,
)
from wsserver.cli.db import db
from wsserver.version import __version__

if TYPE_CHECKING:
    from wsserver.config import Loaded, Settings


def _setting_flags(command: CommandFunction) -> CommandFunction:
    """Add the flags that ``serve`` and ``config`` share."""
    for flag in reversed(
        (
            config_flag,
            click.option(
                "--dev",
                is_flag=True,
                help="Development mode: loopback only, with a generated secret in data_dir.",
            ),
            click.option("--host", metavar="H", help="Address to listen on  [default: 127.0.0.1]"),
            click.option(
                "--port",
                type=click.IntRange(0, 65535),
                metavar="P",
                help="Port to listen on, 0 for any free one  [default: 8765]",
            ),
            database_flag,
            click.option(
                "--workers",
                type=click.IntRange(1, 256),
                metavar="N",
                help="Processes that serve together on the port  [default: 1]",
            ),
            click.option(
                "--plugin",
                "plugins",
                multiple=True,
                metavar="module:function",
                help="Call this function at start; may be repeated. Replaces `plugins`.",
            ),
        )
    ):
        command = flag(command)
    return command


def _print_version(ctx: click.Context, param: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or ctx.resilient_parsing:
        return
    from platform import python_implementation, python_version

    from wsserver.event_loop import describe
    from wsserver.wire import IS_COMPILED

    build = "compiled" if IS_COMPILED else "pure Python"
    runtime = f"{build}, {python_implementation()} {python_version()}, event loop {describe()}"
    click.echo(f"wsserver {__version__} ({runtime})")
    ctx.exit()


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, with Python's and the event loop that is used, and exit.",
)
def main() -> None:
    """Serve WebSockets for live chat.

    Settings come from flags, the environment (WSSERVER_PORT=9000), a TOML file, in this order.

    \b
    Example:
      wsserver serve --dev
    """


@main.command()
@_setting_flags
@click.pass_context
def serve(ctx: click.Context, /, config_file: Path | None, dev: bool, **flags: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    \b
    Examples:
      wsserver serve --dev
      wsserver serve --config /etc/wsserver.toml --host 0.0.0.0
      wsserver serve --dev --workers 2
    """
    from wsserver.config import ConfigFaults, load_settings, make_folders, secret_texts
    from wsserver.extension_registry import find_extensions

    def read_settings() -> Settings:
        return load_settings(config_file, os.environ, flags, dev, find_extensions)

    try:
        settings = read_settings()
        make_folders(settings)
    except ConfigFaults as faults:
        fail(faults)

    from wsserver.logs import set_up_logging

    set_up_logging(settings.log_format, settings.log_level, secrets=secret_texts(settings))
    try:
        if settings.workers > 1:
            from wsserver.workers.supervisor import Supervisor

            status = Supervisor(settings, read_settings, dev=dev).run()
        else:
            import_quickly()
            from wsserver.process import run

            status = run(settings, dev=dev)
    except ConfigFaults as faults:
        print_faults(faults)
        status = ExitStatus.CONFIG
    ctx.exit(status)


@main.group()
def config() -> None:
    """Check the configuration or show the values in force.

    \b
    Example:
      wsserver config check --config /etc/wsserver.toml
    """


@config.command()
@_setting_flags
def check(config_file: Path | None, dev: bool, **flags: Any) -> None:
    """Check the settings: name every fault and exit with 78. Changes nothing.

    \b
    Example:
      wsserver config check --config /etc/wsserver.toml
    """
    from wsserver.app import templates_of
    from wsserver.config import ConfigFaults
    from wsserver.extension_registry import load_extensions

    settings, _ = _read(config_file, dev, flags)
    try:
        templates_of(settings, load_extensions(settings).templates)
    except ConfigFaults as faults:
        fail(faults)
    echo("configuration: all is well")


@config.command()
@_setting_flags
@click.option("--json", "as_json", is_flag=True, help="JSON: key → value and source.")
def show(config_file: Path | None, dev: bool, as_json: bool, **flags: Any) -> None:
    """Print every setting with its source; secrets are masked.

    \b
    Examples:
      wsserver config show
      wsserver config show --dev --json
    """
    from wsserver.config import masked

    settings, sources = _read(config_file, dev, flags)
    shown = masked(settings, sources)
    if as_json:
        echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    lines = [(_as_toml(key, entry["value"]), entry["source"]) for key, entry in shown.items()]
    width = min(50, max(len(line) for line, _ in lines))
    for line, source in lines:
        echo(f"{line:{width}}  # {source}")


def _as_toml(key: str, value: Any) -> str:
    if value is None:
        return f"# {key} is not set"
    if isinstance(value, dict):
        entries = ", ".join(f"{name} = {json.dumps(entry)}" for name, entry in value.items())
        return f"{key} = {{ {entries} }}" if entries else f"{key} = {{}}"
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _read(config_file: Path | None, dev: bool, flags: dict[str, Any]) -> Loaded:
    from wsserver.config import ConfigFaults, read_settings
    from wsserver.extension_registry import find_extensions

    try:
        return read_settings(config_file, os.environ, flags, dev, find_extensions)
    except ConfigFaults as faults:
        fail(faults)


main.add_command(db)
