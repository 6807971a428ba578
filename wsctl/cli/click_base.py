"""Base classes of commands and groups: global options, lazy import, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import click

from wsctl.cli.closed_streams import replace_closed_streams
from wsctl.cli.global_options import with_global_options, write_options
from wsctl.errors import BadUsage, ExitStatus, Failed
from wsctl.output.writer import say
from wsctl.text import without_bom

PROGRAM, COMPLETE_VAR = "wsctl", "_WSCTL_COMPLETE"
"""The program's name, and the variable by which a shell requests completions."""


def _installed() -> dict[str, Callable[[], Any]]:
    """The commands of installed packages, by name, with what imports them."""
    from importlib.metadata import entry_points

    return {entry.name: entry.load for entry in entry_points(group=INSTALLED)}


class Command(click.Command):
    """A command with the global options; its epilog is its examples.

    ``is_local``: it needs no server.
    """

    def __init__(self, *args: Any, is_local: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = with_global_options(self.params, is_local=is_local)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then the global ones."""
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, one per line, so that they can be copied."""
        write_examples(self.epilog, formatter)


def write_examples(epilog: str | None, formatter: click.HelpFormatter) -> None:
    """The examples section of a help text."""
    if epilog:
        with formatter.section("Examples"):
            for example in epilog.strip().splitlines():
                formatter.write(" " * formatter.current_indent + example.strip() + "\n")


class LazyGroup(click.Group):
    """A group whose commands are imported when called; suggests names for mistyped ones.

    ``table``: name of a command → ``module:attribute``. ``is_local``: its commands need no server.
    """

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, str] | None = None,
        is_local: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.table = dict(table or {})
        self.params = with_global_options(self.params, is_local=is_local)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, which groups what belongs together."""
        return [*self.table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if need be."""
        if cmd_name in self.table:
            module, _, attribute = self.table[cmd_name].partition(":")
            found: click.Command = getattr(importlib.import_module(module), attribute)
            return found
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a mistyped command is answered with the nearest ones."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, then the commands."""
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, one a line."""
        write_examples(self.epilog, formatter)


Decorated = TypeVar("Decorated", bound=click.Command)


def command(**attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command, with help and examples from its docstring."""
    return _documented(Command, attributes)


def group(**attributes: Any) -> Callable[[Callable[..., Any]], LazyGroup]:
    """Make a function a group of commands, with help and examples from its docstring."""
    return _documented(LazyGroup, attributes)


def _documented(
    kind: type[Decorated], attributes: dict[str, Any]
) -> Callable[[Callable[..., Any]], Decorated]:
    def decorate(function: Callable[..., Any]) -> Decorated:
        text, _, examples = inspect.cleandoc(function.__doc__ or "").partition("\n\nExamples:\n")
        return click.command(cls=kind, help=text, epilog=examples, **attributes)(function)

    return decorate


INSTALLED = "wsctl.commands"
"""Entry points of this group are commands of other packages; the name of each is the command's."""


class RootGroup(LazyGroup):
    """The root group: maps every outcome to an exit code, and has commands of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, then those of installed packages."""
        own = super().list_commands(ctx)
        return [*own, *sorted(_installed().keys() - set(own))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; other packages are looked at only for what is no command here."""
        found = super().get_command(ctx, cmd_name)
        if found is not None or (load := _installed().get(cmd_name)) is None:
            return found
        try:
            command = load()
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything at import
            say(f"the installed command {cmd_name} cannot be imported: {error}")
            return None
        return command if isinstance(command, click.Command) else None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options of the program; ``--help`` may end in a closed pipe."""
        with pipe_may_close():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with pipe_may_close():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run with ``args`` and exit with a code of ``ExitStatus``."""
        replace_closed_streams()
        if COMPLETE_VAR in os.environ:
            # Registers the shells with click; not needed otherwise.
            importlib.import_module("wsctl.cli.shell_completion")
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):
                # Characters that the encoding lacks are escaped instead of raising.
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            code = super().main(
                args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except click.ClickException as error:
            _show(error)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(ExitStatus.INTERRUPTED)
        sys.exit(code if isinstance(code, int) else ExitStatus.DONE)


def _show(error: click.ClickException) -> None:
    """Print an error on stderr, wrapped to the terminal's width."""
    import io

    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().splitlines():
        say(line, indent=2)


@contextlib.contextmanager
def pipe_may_close() -> Iterator[None]:
    """Exit with 0 when the reader of the output (``head``, ``less``) closes the pipe."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit: redirect that to /dev/null.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        raise click.exceptions.Exit(ExitStatus.DONE) from None
    except OSError as error:
        raise Failed(f"cannot write the output: {error.strerror or error}") from None


def read_stdin() -> str:
    """All of standard input, for an argument ``-``; raises ``BadUsage`` if there is none."""
    if sys.stdin is None:
        raise BadUsage("standard input is closed, but - reads from it")
    try:
        return without_bom(sys.stdin.read())
    except UnicodeDecodeError:
        raise BadUsage("standard input is not UTF-8 text") from None
