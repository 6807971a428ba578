"""Before something is done that cannot be undone: the question, and the look beforehand."""

from __future__ import annotations

import sys

import click

from wsctl.errors import Failed
from wsctl.text import printable


def is_asked(yes: bool) -> bool:
    """Is there somebody to ask, who has not said yes already?"""
    return not yes and sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask on a terminal, unless ``yes``; without one, as in cron, nothing is asked.

    Raises ``Failed`` with ``otherwise`` when the answer is no.
    """
    if not is_asked(yes):
        return
    try:
        is_agreed = click.confirm(printable(question), err=True)
    except click.Abort:
        click.echo(err=True)  # what comes next stands below the question and its ^C
        raise
    if not is_agreed:
        raise Failed(otherwise)
