"""Confirmation before an action."""

from __future__ import annotations

import sys

import click

from wsctl.errors import Failed
from wsctl.text import printable


def is_asked(yes: bool) -> bool:
    """Whether to ask: on a terminal, without ``--yes``."""
    return not yes and sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask on a terminal, unless ``yes``; without a terminal, as in cron, do not ask.

    Raises ``Failed`` with the message ``otherwise`` if the answer is no.
    """
    if not is_asked(yes):
        return
    try:
        is_agreed = click.confirm(printable(question), err=True)
    except click.Abort:
        click.echo(err=True)  # the next line goes below the question and its ^C
        raise
    if not is_agreed:
        raise Failed(otherwise)
