"""``wsctl context``: servers saved by name."""

from __future__ import annotations

from pathlib import Path

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.output.writer import Column

_COLUMNS = [
    Column("CURRENT", "current", lambda value: "*" if value else ""),
    Column("NAME", "name"),
    Column("URL", "url"),
    Column("TOKEN FILE", "token_file"),
]


@group(is_local=True)
def context() -> None:
    """Save servers by name and choose the current one.

    They are saved in the user's configuration folder, readable by that user only. Tokens are not
    saved, only the paths of their files.

    Examples:
    wsctl context add prod --url https://ws.example.com --token-file ~/.ws-token
    wsctl context use prod
    """


@command(is_local=True)
@click.argument("name", shell_complete=completion.contexts)
@click.option("--url", required=True, metavar="U", help="Address of the server.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="F",
    help="File with the token for this server.",
)
@pass_environment
def add(environment: Environment, name: str, url: str, token_file: Path | None) -> None:
    """Save a server as NAME, replacing one of that name.

    The first one saved becomes the current one.

    Examples:
    wsctl context add prod --url https://ws.example.com --token-file ~/.ws-token
    """
    from wsctl.config.contexts import Contexts, Server
    from wsctl.config.target import check_url

    kept = str(token_file.absolute()) if token_file else None
    contexts = Contexts()
    contexts.add(name, Server(check_url(url), kept))
    is_current = ", now current" if contexts.current == name else ""
    environment.output.note(f"context {name} saved{is_current}")


@command(is_local=True)
@click.argument("name", shell_complete=completion.contexts)
@pass_environment
def use(environment: Environment, name: str) -> None:
    """Make NAME the current context.

    Examples:
    wsctl context use prod
    """
    from wsctl.config.contexts import Contexts

    Contexts().use(name)
    environment.output.note(f"context {name} is now current")


@command(is_local=True)
@pass_environment
def list_(environment: Environment) -> None:
    """List the saved servers; a star marks the current one.

    Examples:
    wsctl context list
    wsctl context list -o json
    """
    from wsctl.config.contexts import Contexts

    contexts = Contexts()
    rows = [
        {
            "name": name,
            "url": server.url,
            "token_file": server.token_file,
            "current": name == contexts.current,
        }
        for name, server in sorted(contexts.servers.items())
    ]
    environment.output.rows(_COLUMNS, rows, empty="no contexts saved")


@command(is_local=True)
@click.argument("name", shell_complete=completion.contexts)
@pass_environment
def remove(environment: Environment, name: str) -> None:
    """Remove the server saved as NAME; its token file stays.

    Examples:
    wsctl context remove prod
    """
    from wsctl.config.contexts import Contexts

    Contexts().remove(name)
    environment.output.note(f"context {name} removed")


context.add_command(add)
context.add_command(use)
context.add_command(list_, "list")
context.add_command(remove)
