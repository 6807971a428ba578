"""Every command has help with an example that parses, and a place in the documentation."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from tests.wsctl.wsctl_fakes import Run
from wsctl.cli import wsctl

DOCS = Path(__file__).resolve().parents[2] / "docs" / "wsctl.rst"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name)


ALL = sorted(commands(wsctl))


def resolve(path: tuple[str, ...]) -> click.Command:
    found: click.Command = wsctl
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example_fits_80_columns_and_names_every_option(
    run: Run, path: tuple[str, ...]
) -> None:
    text = run(*path, "--help").stdout
    assert f"wsctl {' '.join(path)}" in text.partition("Examples:")[2]
    assert max(map(cell_len, text.splitlines())) <= 80
    for param in resolve(path).params:
        if isinstance(param, click.Option):
            assert param.help, f"{param.name} has no help"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_its_examples_use_only_options_that_exist(path: tuple[str, ...]) -> None:
    found = resolve(path)
    known = {name for param in found.params for name in param.opts}
    for line in (found.epilog or "").strip().splitlines():
        for call in line.split("|"):
            words = shlex.split(call)
            if words[:1] == ["wsctl"] and tuple(words[1 : 1 + len(path)]) == path:
                options = {word for word in words if word.startswith("-") and word != "-"}
                assert options <= known, line


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_it_is_documented_with_an_example(path: tuple[str, ...]) -> None:
    text = DOCS.read_text("utf-8")
    name = f"wsctl {' '.join(path)}"
    assert f"\n``{name}``\n" in text
    assert f"        {name}" in text


def test_the_overview_says_each_command_in_one_line(run: Run) -> None:
    overview = run("--help").stdout.partition("Commands:")[2].partition("Examples:")[0]
    assert "..." not in overview
    assert len(overview.strip().splitlines()) == len(wsctl.list_commands(click.Context(wsctl)))
