"""Global options after the command: the same as before it, and the last one counts."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from tests.support.fake_server import ADMIN, NOBODY, FakeServer, Run
from tests.support.wsctl_commands import ALL, EVERYTHING, GROUPS, resolve
from wsctl.cli import completion
from wsctl.cli.global_options import GlobalOption, global_options
from wsctl.cli.root import wsctl
from wsctl.cli.shell_completion import Bash

NAMES = {name for option in global_options() for name in option.opts}
LOCAL = {("token", "create"), ("token", "inspect"), ("completion",)} | {
    path for path in ALL if path[0] == "context"
}


def test_they_are_taken_after_the_command(run: Run, server: FakeServer) -> None:
    result = run("stats", "--url", server.url, "-o", "json", "-q", "--token", ADMIN)
    assert (result.exit_code, json.loads(result.stdout)["node"]) == (0, "n1")
    assert server.asked[-1].token == ADMIN


def test_so_they_are_between_a_group_and_its_command(run: Run, server: FakeServer) -> None:
    server.answers["GET", "/notifications"] = (200, {"notifications": [], "total": 0})
    result = run("notifications", "--url", server.url, "list", "--token", ADMIN, "-o", "json")
    assert (result.exit_code, result.stdout) == (0, "[]\n")


def test_the_last_one_counts(run: Run, server: FakeServer) -> None:
    given = ("--url", "http://127.0.0.1:9", "--token", NOBODY, "-o", "csv")
    result = run(*given, "online", "--url", server.url, "-o", "json", "--token", ADMIN)
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["user_id"] == "u1"


def test_an_option_before_the_command_counts_unless_repeated_after_it(
    run: Run, server: FakeServer
) -> None:
    result = run("--url", server.url, "-o", "json", "stats", "--token", ADMIN)
    assert json.loads(result.stdout)["node"] == "n1"


def test_a_token_file_and_a_context_are_taken_there(
    run: Run, server: FakeServer, home: Path
) -> None:
    Path("token").write_text(ADMIN)
    assert run("online", "--token-file", "token", "--url", server.url).exit_code == 0
    run("context", "add", "here", "--url", server.url, "--token-file", "token")
    run("context", "add", "other", "--url", "http://127.0.0.1:9")
    run("context", "use", "other")
    assert run("online", "--context", "here").exit_code == 0
    assert run("online").exit_code != 0


@pytest.mark.parametrize("before", [True, False])
def test_a_token_and_a_file_of_one_are_a_conflict(run: Run, before: bool) -> None:
    file = ("--token-file", "token")
    args = (*file, "online") if before else ("online", *file)
    result = run(*args, "--token", ADMIN)
    assert (result.exit_code, "not both" in result.stderr) == (2, True)


def test_a_commands_own_option_of_the_same_name_wins(run: Run, server: FakeServer) -> None:
    """``context add`` keeps ``--url`` and ``--token-file``; they name no server to talk to."""
    Path("token").write_text(ADMIN)
    kept = ("--url", "http://kept.example", "--token-file", "token")
    assert run("--url", server.url, "context", "add", "prod", *kept).exit_code == 0
    (row,) = json.loads(run("context", "list", "-o", "json").stdout)
    assert (row["url"], row["token_file"]) == ("http://kept.example", str(Path("token").absolute()))
    assert "--url" in run("context", "add", "prod").stderr, "its own is required"


@pytest.mark.parametrize("path", [*ALL, *GROUPS], ids=" ".join)
def test_every_command_takes_every_one(path: tuple[str, ...]) -> None:
    names = {
        name
        for param in EVERYTHING[path].params
        if isinstance(param, click.Option)
        for name in param.opts
    }
    assert names >= NAMES


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_two_options_of_a_command_have_the_same_name(path: tuple[str, ...]) -> None:
    names = [name for param in resolve(path).params for name in param.opts]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_shows_them_apart_where_they_mean_something(run: Run, path: tuple[str, ...]) -> None:
    shown = run(*path, "--help").stdout.partition("\nGlobal options:\n")[2]
    shown = shown.partition("\nExamples:\n")[0]
    assert "--output" in shown
    assert ("--context" in shown) == (path not in LOCAL)
    options = [p for p in resolve(path).params if isinstance(p, click.Option)]
    own = [option for option in options if not isinstance(option, GlobalOption)]
    assert not any(name in shown.split() for param in own for name in param.opts)


def test_the_tab_key_offers_them_and_heeds_them(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "wsctl stats --")
    bash = Bash(wsctl, {}, "wsctl", "_WSCTL_COMPLETE")
    assert {item.value for item in bash.get_completions(["stats"], "--")} >= {"--url", "--context"}
    line = ["connections", "--url", server.url, "--token", ADMIN, "--user"]
    monkeypatch.setenv("COMP_LINE", f"wsctl {' '.join(line)} ")
    assert [item.value for item in bash.get_completions(line, "")] == ["u1"]


def test_a_home_is_found_that_no_shell_has_replaced_yet(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "t").write_text(ADMIN)
    ctx = wsctl.make_context("wsctl", ["online"], resilient_parsing=True)
    online = resolve(("online",)).make_context(
        "online", ["--url", server.url, "--token-file", "~/t"], parent=ctx, resilient_parsing=True
    )
    found = completion.users(online, click.Option(["--user"]), "")
    assert [item.value for item in found] == ["u1"]
