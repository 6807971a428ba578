"""Every command has help, examples that parse, a place in the documentation, and a test."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import click
import pytest
from rich.cells import cell_len

from tests.support.fake_server import Run
from tests.support.wsctl_commands import ALL, EVERYTHING, GROUPS, resolve
from wsctl.cli.click_base import LazyGroup
from wsctl.cli.root import wsctl

TESTS = Path(__file__).resolve().parents[1]
DOCS = TESTS.parent / "docs" / "wsctl.rst"


def calls(epilog: str) -> Iterator[list[str]]:
    """The arguments of every wsctl in the lines of examples, as a shell would give them."""
    for line in epilog.strip().splitlines():
        plain = re.sub(r"<\((.*?)\)|\$\((.*?)\)", r"; \1\2 ;", line)
        lexer = shlex.shlex(plain, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";|&<>"):
                words.append(word)
                continue
            if words[:1] == ["wsctl"]:
                yield words[1:]
            elif words[:1] == ["echo"] and "wsctl" in words[1:2]:
                yield from calls(words[1])
            words = []


def parse(args: list[str]) -> tuple[str, ...]:
    """Let click read the arguments; the words of the command that they call. Nothing is run."""
    ctx: click.Context = wsctl.make_context("wsctl", list(args))
    path: tuple[str, ...] = ()
    while isinstance(ctx.command, click.Group):
        words = [*ctx._protected_args, *ctx.args]
        if not words and ctx.command.invoke_without_command:
            break
        name, command, rest = ctx.command.resolve_command(ctx, words)
        assert command is not None
        assert name is not None
        path = (*path, name)
        ctx = command.make_context(name, rest, parent=ctx)
    return path


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example_fits_80_columns_and_names_every_option(
    run: Run, path: tuple[str, ...]
) -> None:
    text = run(*path, "--help").stdout
    found = resolve(path)
    assert found.help
    assert f"wsctl {' '.join(path)}" in text.partition("Examples:")[2]
    assert max(map(cell_len, text.splitlines())) <= 80
    for param in found.params:
        if isinstance(param, click.Option):
            assert param.help, f"{param.name} has no help"


@pytest.mark.parametrize("path", [(), *GROUPS], ids=lambda path: " ".join(path) or "wsctl")
def test_a_group_says_each_of_its_commands_in_one_line(run: Run, path: tuple[str, ...]) -> None:
    group = EVERYTHING.get(path, wsctl)
    assert isinstance(group, LazyGroup)
    text = run(*path, "--help").stdout
    overview = text.partition("Commands:")[2].partition("Examples:")[0]
    assert group.help
    assert "..." not in overview
    assert len(overview.strip().splitlines()) == len(group.list_commands(click.Context(group)))
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "wsctl" in text.partition("Examples:")[2]


@pytest.mark.parametrize("path", [(), *EVERYTHING], ids=lambda path: " ".join(path) or "wsctl")
def test_its_examples_parse(path: tuple[str, ...], home: Path) -> None:
    found = EVERYTHING.get(path, wsctl)
    for name in ("~/.ws-token", "token"):  # files that examples name must be there
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    made = [parse(args) for args in calls(found.epilog or "")]
    assert made
    if path in ALL:
        assert set(made) <= {path, ("token", "create")}
        assert path in made


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_it_is_documented_with_an_example(path: tuple[str, ...]) -> None:
    text = DOCS.read_text("utf-8")
    name = f"wsctl {' '.join(path)}"
    assert f"\n``{name}``\n" in text
    assert re.search(rf"^        (echo 'source <\()?{name}\b", text, re.MULTILINE)


def is_text(words: tuple[object, ...]) -> TypeGuard[tuple[str, ...]]:
    return all(isinstance(word, str) for word in words)


@cache
def called_in_tests() -> frozenset[tuple[str, ...]]:
    """What the tests of wsctl call: strings that follow each other in a call, list or tuple.

    Options before the command are skipped, so ``ctl("-o", "json", "stats")`` is a call of stats.
    """
    found: set[tuple[str, ...]] = set()
    this = Path(__file__).name
    paths = [*TESTS.glob("wsctl/test_*.py"), *TESTS.glob("operators/test_*.py")]
    for path in (path for path in paths if path.name != this):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            items: list[ast.expr] = []
            if isinstance(node, ast.Call):
                items = node.args
            # What is completed at the TAB key is not called by that.
            elif isinstance(node, ast.List | ast.Tuple) and path.name != "test_completion.py":
                items = node.elts
            texts = [item.value if isinstance(item, ast.Constant) else None for item in items]
            found |= {
                words
                for start in range(len(texts))
                for n in (1, 2)
                if is_text(words := tuple(texts[start : start + n]))
            }
    return frozenset(found)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_it_has_a_test(path: tuple[str, ...]) -> None:
    assert path in called_in_tests(), f"no test in tests/wsctl or tests/operators calls it: {path}"
