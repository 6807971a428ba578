"""Every command of wsctl with the words that call it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from wsctl.cli.root import wsctl


def tree(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group below ``group``, with the words that call it."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from tree(found, (*path, name))


EVERYTHING = dict(tree(wsctl))

ALL = sorted(path for path, found in EVERYTHING.items() if not isinstance(found, click.Group))

GROUPS = sorted(path for path, found in EVERYTHING.items() if isinstance(found, click.Group))


def resolve(path: tuple[str, ...]) -> click.Command:
    return EVERYTHING[path]
