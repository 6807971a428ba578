"""Context object of a call: global options, output, target server and client."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsctl.output.writer import Output

if TYPE_CHECKING:
    from wsctl.config.target import Target
    from wsctl.http.client import Client


@dataclass
class Environment:
    """State of one call of wsctl; target and client are created on first use."""

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    context: str | None = None
    output: Output = field(default_factory=Output)

    @cached_property
    def target(self) -> Target:
        """The server that the options, the environment or the current context name."""
        from wsctl.config.target import resolve

        return resolve(
            url=self.url,
            token=self.token,
            token_file=self.token_file,
            context=self.context,
            environ=os.environ,
        )

    @cached_property
    def client(self) -> Client:
        """The client for that server, closed when the command ends."""
        from wsctl.http.client import Client

        client = Client(self.target)
        at_end = click.get_current_context().find_root().call_on_close
        at_end(client.close)
        at_end(lambda: self._note_silent(client))
        return client

    def _note_silent(self, client: Client) -> None:
        """Warn that what was shown lacks the part of some nodes."""
        if client.silent_nodes:
            names = ", ".join(sorted(client.silent_nodes))
            self.output.note(f"wsctl: no answer from {names}: what is shown lacks their part")


pass_environment = click.make_pass_decorator(Environment, ensure=True)
