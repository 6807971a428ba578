"""``wsctl completion``: make the shell's TAB key know the commands and the server's ids."""

from __future__ import annotations

import click

from wsctl.cli.click_base import COMPLETE_VAR, PROGRAM, command
from wsctl.cli.environment import Environment, pass_environment


@command(
    """
    source <(wsctl completion bash)
    echo 'source <(wsctl completion bash)' >> ~/.bashrc
    wsctl completion zsh > "${fpath[1]}/_wsctl"
    wsctl completion fish > ~/.config/fish/completions/wsctl.fish
    """,
    is_local=True,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_environment
def completion(environment: Environment, shell: str) -> None:
    """Make the TAB key of a shell know all this.

    Prints the script for SHELL; where to put it, the examples below say.

    Commands, options, choices and files; the names of contexts; and from the server, if it
    answers within a second: users, sessions, connections, organizations, notifications,
    messages. It is asked with the address and token that the line so far stands for.
    """
    from wsctl.cli.shell_completion import script

    environment.output.data(script(shell, PROGRAM, COMPLETE_VAR))
