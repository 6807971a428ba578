"""``wsctl completion``: completion scripts for bash, zsh and fish."""

from __future__ import annotations

import click

from wsctl.cli.click_base import COMPLETE_VAR, PROGRAM, command
from wsctl.cli.environment import Environment, pass_environment


@command(is_local=True)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_environment
def completion(environment: Environment, shell: str) -> None:
    """Print the completion script of a shell.

    The examples below show where to put it.

    The TAB key then completes commands, options, choices, files and names of contexts; and from
    the server, if it answers within a second: users, sessions, connections, organizations,
    notifications, messages. Server and token are those of the line being typed.

    Examples:
    source <(wsctl completion bash)
    echo 'source <(wsctl completion bash)' >> ~/.bashrc
    wsctl completion zsh > "${fpath[1]}/_wsctl"
    wsctl completion fish > ~/.config/fish/completions/wsctl.fish
    """
    from wsctl.cli.shell_completion import script

    environment.output.data(script(shell, PROGRAM, COMPLETE_VAR))
