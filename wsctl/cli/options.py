"""Options that several commands share: users, sessions, limits, ``--yes``, ``--dry-run``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from wsctl.cli import completion

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def dry_run_option(what: str) -> Decorator:
    """``--dry-run``, which only shows ``what``."""
    return click.option("--dry-run", is_flag=True, help=f"Do nothing; show {what}.")


def user_option(help_text: str, **attributes: Any) -> Decorator:
    """``--user U``; ``attributes`` as ``click.option`` has them."""
    return click.option(
        "--user", metavar="U", help=help_text, shell_complete=completion.users, **attributes
    )


def session_option(help_text: str) -> Decorator:
    """``--session S``."""
    return click.option(
        "--session", metavar="S", help=help_text, shell_complete=completion.sessions
    )


def organization_option(help_text: str) -> Decorator:
    """``--organization O``."""
    return click.option(
        "--organization", metavar="O", help=help_text, shell_complete=completion.organizations
    )


def role_option(help_text: str) -> Decorator:
    """``--role R``."""
    return click.option("--role", metavar="R", help=help_text, shell_complete=completion.roles)


def exclude_option(help_text: str) -> Decorator:
    """``--exclude U``, repeatable."""
    return click.option(
        "--exclude", multiple=True, metavar="U", help=help_text, shell_complete=completion.users
    )


node_option = click.option(
    "--node", metavar="NODE", help="Only this node. Default: all.", shell_complete=completion.nodes
)


def limit_option(default: int | None = None) -> Decorator:
    """``--limit N``; ``default`` None: all rows."""
    usual = "all" if default is None else default
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        metavar="N",
        help=f"At most N rows. Default: {usual}.",
    )
