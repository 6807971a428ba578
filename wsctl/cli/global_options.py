"""Global options: accepted before the command and after it; the last one counts.

A command with an option of the same name keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.environment import Environment
from wsctl.output.writer import FORMATS

Set = Callable[[Environment, Any], None]


class GlobalOption(click.Option):
    """A global option. ``put`` sets its value in the call's ``Environment``."""

    def __init__(self, names: Sequence[str], put: Set, **attributes: Any) -> None:
        def enter(ctx: click.Context, _: click.Parameter, value: Any) -> None:
            # None, or False for a flag: not given here, but perhaps before the command.
            if value is not None and value is not False:
                put(ctx.ensure_object(Environment), value)

        # A name that no argument of a command has, as ``token inspect TOKEN`` has token.
        name = f"global_{names[-1].strip('-').replace('-', '_')}"
        super().__init__([*names, name], expose_value=False, callback=enter, **attributes)


def _put_format(environment: Environment, value: str) -> None:
    environment.output.format = value


def _put_quiet(environment: Environment, value: bool) -> None:
    environment.output.quiet = value


def _put(name: str) -> Set:
    return lambda environment, value: setattr(environment, name, value)


def global_options(*, is_local: bool = False) -> list[GlobalOption]:
    """New instances of all global options.

    ``is_local``: for a command without a server. Its options for the server are accepted, so that
    scripts can append them to every command, but hidden.
    """
    return [
        GlobalOption(
            ["-o", "--output"],
            _put_format,
            type=click.Choice(FORMATS),
            help="Output format. Default: table.",
        ),
        GlobalOption(
            ["-q", "--quiet"], _put_quiet, is_flag=True, help="Print only results and errors."
        ),
        GlobalOption(
            ["--url"],
            _put("url"),
            metavar="URL",
            help="Address of the server. Or WSCTL_URL.",
            hidden=is_local,
        ),
        GlobalOption(
            ["--token"],
            _put("token"),
            metavar="TOKEN",
            help="Token to present. Or WSCTL_TOKEN, or --token-file, which other users of this"
            " machine cannot see in the list of processes.",
            hidden=is_local,
        ),
        GlobalOption(
            ["--token-file"],
            _put("token_file"),
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="File with the token; read again whenever it is needed.",
            hidden=is_local,
        ),
        GlobalOption(
            ["--context"],
            _put("context"),
            metavar="NAME",
            help="Use a server saved with `wsctl context add`.",
            shell_complete=completion.contexts,
            hidden=is_local,
        ),
    ]


def with_global_options(
    own: Iterable[click.Parameter], *, is_local: bool = False
) -> list[click.Parameter]:
    """A command's parameters and, behind them, the global options whose names it does not use."""
    params = list(own)
    taken = {name for param in params for name in (*param.opts, *param.secondary_opts)}
    more = [each for each in global_options(is_local=is_local) if taken.isdisjoint(each.opts)]
    return [*params, *more]


def write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """The options of a help text: the command's own, then the global ones."""
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    is_program = ctx.parent is None
    for param in command.get_params(ctx):
        record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
        if record is not None:
            is_own = is_program or not isinstance(param, GlobalOption)
            (own if is_own else shared).append(record)
    for title, records in (("Options", own), ("Global options", shared)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
