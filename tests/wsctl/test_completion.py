"""The TAB key: in a real bash, and as zsh and fish ask for it."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.fake_server import ADMIN, FakeServer, Run, connection, page
from tests.support.rst_blocks import table
from tests.support.waiting import PATIENCE_S
from wsctl.cli import completion
from wsctl.cli.click_base import COMPLETE_VAR
from wsctl.cli.root import wsctl
from wsctl.cli.shell_completion import Bash, Fish, Zsh

USERS = ["zhangsan", "lisi@example.com", "dept:sales:1", "dept:sales:2", "wang.wu"]
SESSIONS = ["s:1001", "s:1002", "support-7"]


@pytest.fixture
def server(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """One with ids of every kind; the environment names it."""
    users = [{"user_id": user, "metadata": {"username": "张三, 客服"}} for user in USERS]
    sessions = [{"session_id": session, "users": [{"username": "张三"}]} for session in SESSIONS]
    hooks = [{"delivery_id": "hook_1", "event": "user_connected", "host": "example.com"}]
    notes = [{"notification_id": "notify_1", "title": "余额: 不足"}]
    entry = {"actor": "ops", "role": "admin", "target": "user:u1",
             "detail": {"message_id": "msg_7", "type": "announcement"}}  # fmt: skip
    for path, key, rows in (
        ("/online-users", "users", users),
        ("/sessions", "sessions", sessions),
        ("/notifications", "notifications", notes),
        ("/webhooks/deliveries", "deliveries", hooks),
        ("/audit", "entries", [entry]),
    ):
        server.answers["GET", path] = (200, page(key, rows, {"limit": "1000"}))
    monkeypatch.setenv("WSCTL_URL", server.url)
    monkeypatch.setenv("WSCTL_TOKEN", ADMIN)
    return server


class Typist:
    """An interactive bash. Ctrl-T prints the line, Ctrl-O the possible completions."""

    def __init__(self, folder: Path) -> None:
        self._main, side = pty.openpty()
        tty.setraw(side)  # keys that come before bash waits for them must mean nothing
        tools = folder / "tools"
        tools.mkdir()
        program = tools / "wsctl"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m wsctl "$@"\n')
        program.chmod(0o755)
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "",
               "LC_ALL": "C.UTF-8", "HISTFILE": "", "INPUTRC": "/dev/null"}  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=side, stdout=side, stderr=side, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(side)
        self._send(
            "bind 'set bell-style none' 'set completion-query-items 0' 'set page-completions off';"
            """bind '"\\C-o": possible-completions';"""
            """bind -x '"\\C-t": printf "<<%s>>\\n" "$READLINE_LINE"';"""
            "source <(wsctl completion bash); printf '<%s>>\\n' '<ready'\n"
        )
        self._until("<<ready>>")

    def tab(self, line: str) -> str:
        """The line after TAB."""
        self._send(f"{line}\t\x14")
        shown = self._until(">>", after="<<")
        self._send("\x15")
        return shown.rpartition("<<")[2].partition(">>")[0]

    def menu(self, line: str) -> set[str]:
        """What bash lists for the line."""
        self._send(f"{line}\x0f\x14")
        shown = self._until(">>", after="<<").rpartition("<<")[0]
        self._send("\x15")
        return set(shown.replace(line, " ").split())

    def leave(self) -> None:
        """Hang up."""
        os.close(self._main)
        self._process.wait(PATIENCE_S)

    def _send(self, text: str) -> None:
        os.write(self._main, text.encode())

    def _until(self, words: str, after: str = "") -> str:
        shown = b""
        while words not in shown.decode("utf-8", "replace").rpartition(after or "\0")[2]:
            readable, _, _ = select.select([self._main], [], [], PATIENCE_S)
            assert readable, shown.decode("utf-8", "replace")
            shown += os.read(self._main, 65536)
        return shown.decode().replace("\r", "")


@pytest.fixture
def bash(server: FakeServer, tmp_path: Path, home: Path) -> Iterator[Typist]:
    """A bash that has read the script, in a folder with a file of a Chinese name."""
    if shutil.which("bash") is None:
        pytest.skip("no bash on PATH")
    (home / "报告 最终.txt").write_text("")
    typist = Typist(tmp_path)
    yield typist
    typist.leave()


def test_bash_completes_commands_options_and_ids_with_their_signs(bash: Typist) -> None:
    for typed, completed in {
        "wsctl discon": "wsctl disconnect ",
        "wsctl token ins": "wsctl token inspect ",
        "wsctl stats --wat": "wsctl stats --watch ",
        "wsctl -o js": "wsctl -o json ",
        "wsctl -o json disconnect zh": "wsctl -o json disconnect zhangsan ",
        "wsctl disconnect lisi": "wsctl disconnect lisi@example.com ",
        "wsctl disconnect lisi@": "wsctl disconnect lisi@example.com ",
        "wsctl disconnect lisi@ex": "wsctl disconnect lisi@example.com ",
        "wsctl ping dept:": "wsctl ping dept:sales:",
        "wsctl ping dept:sales:2": "wsctl ping dept:sales:2 ",
        "wsctl history s:1": "wsctl history s:100",
        "wsctl history 's:1001": "wsctl history 's:1001' ",
        "wsctl connections --session=sup": "wsctl connections --session=support-7 ",
        "wsctl connections --session=s:1002": "wsctl connections --session=s:1002 ",
        "wsctl members s:1001 --add wang.wu,zh": "wsctl members s:1001 --add wang.wu,zhangsan ",
        "wsctl notifications show no": "wsctl notifications show notify_1 ",
        "wsctl webhooks retry ho": "wsctl webhooks retry hook_1 ",
        "wsctl trace m": "wsctl trace msg_7 ",
        "wsctl audit --actor o": "wsctl audit --actor ops ",
        "wsctl notify u1 --template device_s": "wsctl notify u1 --template device_status ",
        "wsctl token revoke --file 报": "wsctl token revoke --file 报告\\ 最终.txt ",
        "X=1 wsctl history sup": "X=1 wsctl history support-7 ",
        "wsctl disconnect nobody-like-that": "wsctl disconnect nobody-like-that",
        "wsctl bogus x": "wsctl bogus x",
    }.items():
        assert bash.tab(typed) == completed


def test_bash_lists_what_fits_and_nothing_else(bash: Typist) -> None:
    assert bash.menu("wsctl history ") == set(SESSIONS)
    assert bash.menu("wsctl completion ") == {"bash", "zsh", "fish"}
    assert bash.menu("wsctl disconnect dept:sales:") == {"1", "2"}
    assert bash.menu("wsctl disconnect lisi@") == {"@example.com"}


def asked(args: list[str], word: str, kind: type[Any] = Zsh) -> list[Any]:
    return list(kind(wsctl, {}, "wsctl", COMPLETE_VAR).get_completions(args, word))


def values(args: list[str], word: str = "", kind: type[Any] = Zsh) -> list[str]:
    return [item.value for item in asked(args, word, kind)]


@pytest.mark.parametrize("kind", [Zsh, Fish])
def test_zsh_and_fish_get_whole_words_with_a_help(server: FakeServer, kind: type[Any]) -> None:
    (item,) = asked(["disconnect"], "lisi@", kind)
    assert (item.value, item.help) == ("lisi@example.com", "张三, 客服")
    assert values(["connections"], "--session=s:1002", kind) == ["--session=s:1002"]
    assert values(["ping"], "dept:sales:1", kind) == ["dept:sales:1"]


def test_completions_for_zsh_and_fish_are_escaped(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", "wsctl ping dept:sales:1")
    monkeypatch.setenv("COMP_CWORD", "2")
    zsh = Zsh(wsctl, {}, "wsctl", COMPLETE_VAR)
    assert zsh.complete() == "plain\ndept\\:sales\\:1\n张三, 客服"
    monkeypatch.setenv("COMP_CWORD", "dept:sales:1")
    fish = Fish(wsctl, {}, "wsctl", COMPLETE_VAR)
    assert fish.complete() == "plain,dept:sales:1\t张三, 客服"
    assert 'string split --max 1 ","' in fish.source()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_the_script(run: Run, shell: str) -> None:
    script = run("completion", shell)
    assert (script.exit_code, f"{COMPLETE_VAR}={shell}_complete" in script.stdout) == (0, True)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.stdout, text=True, check=True)


def test_contexts_roles_and_choices_need_no_server(
    run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSCTL_URL")
    run("context", "add", "prod", "--url", server.url)
    assert values(["--context"], "p") == ["prod"]
    assert values(["context", "use"]) == ["prod"]
    assert values(["explain", "--role"], "ma") == ["manager"]
    assert values(["connections", "--endpoint"], "m") == ["monitor"]
    assert server.asked == []


def test_the_server_asked_is_the_one_of_the_line(
    run: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSCTL_URL")
    monkeypatch.delenv("WSCTL_TOKEN")
    token = tmp_path / "token"
    token.write_text(ADMIN)
    line = ["--url", server.url, "--token-file", str(token), "history"]
    assert values(line, "sup") == ["support-7"]
    run("context", "add", "prod", "--url", server.url, "--token-file", str(token))
    assert values(["--context", "prod", "history"], "sup") == ["support-7"]


def test_connections_are_those_of_the_user_on_the_line(server: FakeServer) -> None:
    assert len(values(["disconnect", "u1", "--connection"])) == len(server.connections)
    assert server.asked[-1].query["user_id"] == "u1"


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_silent(
    server: FakeServer, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    server.answers["GET", "/sessions"] = (status, {"code": "no", "detail": "canary"})
    assert values(["history"]) == []
    server.answers["GET", "/sessions"] = (200, b"<html>")
    assert values(["history"]) == []
    assert capfd.readouterr() == ("", "")


def test_a_server_that_hangs_or_is_not_there_costs_less_than_a_second(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    assert completion.PATIENCE_S < 1
    monkeypatch.setattr(completion, "PATIENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], 9):
            monkeypatch.setenv("WSCTL_URL", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("WSCTL_TOKEN", ADMIN)
            began = time.monotonic()
            assert values(["history"]) == []
            assert time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


def test_a_crowd_is_cut_short_and_strange_ids_are_left_out(server: FakeServer) -> None:
    del server.answers["GET", "/online-users"]
    server.connections = [connection(number) for number in range(9000)]
    found = values(["disconnect", "u1", "--connection"])
    assert len(found) == completion.MAX_SHOWN
    server.asked.clear()
    assert values(["disconnect", "u1", "--connection"], "conn_8999") == []
    assert len(server.asked) == 5, "pages of a thousand"
    rows: list[dict[str, Any]] = [
        {"session_id": name, "users": []} for name in ("a b", "$(id)", "s\n1", "ok", "ok")
    ]
    server.answers["GET", "/sessions"] = (200, page("sessions", rows, {}))
    assert values(["history"]) == ["ok"]


def test_a_help_cannot_steer_the_terminal(server: FakeServer) -> None:
    rows: list[dict[str, Any]] = [
        {"session_id": "s1", "users": [{"username": "a\x1b[2J\nb" + "c" * 200}]}
    ]
    server.answers["GET", "/sessions"] = (200, page("sessions", rows, {}))
    (item,) = asked(["history"], "")
    assert item.help.startswith("a\\x1b[2J b")
    assert len(item.help) <= 60


def test_the_lists_that_are_known_are_the_servers() -> None:
    from tests.support.built_in import DEFAULT_ROLES, ENDPOINTS, PARAMETERS

    assert set(completion.TEMPLATES) == set(PARAMETERS)
    assert set(completion.ROLES) == set(DEFAULT_ROLES)
    assert set(completion.ACTIONS) == {each.action for each in ENDPOINTS if each.action}
    described = {row[0] for row in table("docs/embedding.rst", "events")}
    assert described <= set(completion.EVENTS)


def test_bash_without_quotes_replaces_what_follows_the_last_word_break(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_BREAKS", " \t\n\"'@><=;|&(:")
    monkeypatch.setenv("COMP_LINE", "wsctl ping dept:sales:")
    bash = Bash(wsctl, {}, "wsctl", COMPLETE_VAR)
    assert bash.complete() == "plain,1\nplain,2"
    monkeypatch.setenv("COMP_BREAKS", " ")
    assert bash.complete() == "plain,dept:sales:1\nplain,dept:sales:2"


def test_every_option_that_names_an_id_has_suggestions() -> None:
    """A new option called --user and so on is not forgotten."""
    names = {"user", "users", "session", "organization", "connection", "notification_id",
             "message_id", "template", "exclude", "actor", "action"}  # fmt: skip
    found = 0

    def walk(command: click.Command) -> None:
        nonlocal found
        if isinstance(command, click.Group):
            ctx = click.Context(command)
            for name in command.list_commands(ctx):
                walk(command.get_command(ctx, name))  # type: ignore[arg-type]
            return
        for param in command.params:
            if param.name in names:
                assert param._custom_shell_complete is not None, (command.name, param.name)
                found += 1

    walk(wsctl)
    assert found > 20
