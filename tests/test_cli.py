"""The command ``wsserver``: exit codes, output streams, help."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.wsserver_cli import SECRET, invoke, run
from wsserver import __version__
from wsserver.cli import ExitStatus, main
from wsserver.config import ConfigFaults, Fault, Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WSSERVER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Settings, bool]]]:
    """Replace the server by one that records its settings."""
    calls: list[tuple[Settings, bool]] = []

    def start(settings: Settings, *, dev: bool) -> int:
        calls.append((settings, dev))
        return 0

    app: Any = types.ModuleType("wsserver.process")
    app.run = start
    monkeypatch.setitem(sys.modules, "wsserver.process", app)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    yield calls
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks


# Real processes


@pytest.mark.slow
def test_a_fault_in_the_environment_is_78_with_one_line_each() -> None:
    done = run("serve", WSSERVER_PORT="70000", WSSERVER_JWT_SECRET="canary-short")
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "wsserver: config: port (env WSSERVER_PORT): must be a whole number from 0 to 65535, "
        "not 70000",
        "wsserver: config: jwt_secret (env WSSERVER_JWT_SECRET): cannot be used: "
        "the secret has 12 bytes, at least 32 are needed",
    ]
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_a_fault_in_the_file_is_78() -> None:
    Path("c.toml").write_text("prot = 1\njwt_secret = ''")
    done = run("config", "check", "--config", "c.toml")
    assert done.returncode == 78
    assert 'prot (file c.toml): is unknown; did you mean "port"?' in done.stderr
    assert "jwt_secret (file c.toml): must be a string that is not empty" in done.stderr


@pytest.mark.slow
def test_a_bad_flag_is_2() -> None:
    assert run("serve", "--dev", "--port", "70000").returncode == 2
    assert run("serve", "--dev", "--host", "0.0.0.0").returncode == 2


@pytest.mark.slow
def test_all_is_well_is_0() -> None:
    done = run("config", "check", WSSERVER_JWT_SECRET=SECRET)
    assert (done.returncode, done.stdout) == (0, "configuration: all is well\n")
    assert done.stderr == ""


def test_version() -> None:
    assert re.fullmatch(
        rf"wsserver {re.escape(__version__)} \((pure Python|compiled), CPython 3\.[\d.]+\w*, "
        r"event loop uvloop [\d.]+\)\n",
        run("--version").stdout,
    )


# In this process


@pytest.mark.parametrize(
    "args",
    [
        ["serve", "--port", "-1"],
        ["serve", "--port", "x"],
        ["serve", "--nonsense"],
        ["serve", "--config", "none.toml"],
        ["serve", "--dev", "--plugin", "nonsense"],
        ["serve", "--dev", "--host", "a b"],
        ["serve", "extra"],
        ["config", "shwo"],
    ],
)
def test_usage_errors(args: list[str]) -> None:
    assert invoke(*args).exit_code == ExitStatus.USAGE


def test_a_database_that_is_a_folder_is_78_wherever_it_was_named() -> None:
    Path("folder").mkdir()
    result = invoke("serve", "--dev", "--database", "folder")
    assert result.exit_code == ExitStatus.CONFIG
    assert result.stderr == "wsserver: config: database (flag --database): is a folder: folder\n"
    assert not Path("var").exists()


def test_flags_reach_the_server(served: list[tuple[Settings, bool]]) -> None:
    flags = ["--host", "::1", "--port", "0", "--database", "x.db"]
    plugins = ["--plugin", "a:b", "--plugin", "c.d:e"]
    assert invoke("serve", "--dev", *flags, *plugins).exit_code == 0
    ((settings, dev),) = served
    assert dev
    assert (settings.host, settings.port) == ("::1", 0)
    assert settings.database == Path("x.db")
    assert settings.plugins == ("a:b", "c.d:e")
    assert Path("var/dev-jwt-secret").exists()


def test_serve_makes_its_folder(served: list[tuple[Settings, bool]]) -> None:
    assert invoke("serve", WSSERVER_JWT_SECRET=SECRET, WSSERVER_DATA_DIR="d").exit_code == 0
    assert Path("d").is_dir()
    assert not served[0][1]


def test_the_status_of_the_server_is_that_of_the_command(
    served: list[tuple[Settings, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["wsserver.process"], "run", lambda settings, dev: 1)
    assert invoke("serve", "--dev").exit_code == 1


def test_faults_that_show_at_start_are_78(
    served: list[tuple[Settings, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: Settings, *, dev: bool) -> int:
        raise ConfigFaults([Fault("port", "flag --port", "is in use: 8765")])

    monkeypatch.setattr(sys.modules["wsserver.process"], "run", refuse)
    result = invoke("serve", "--dev", "--port", "8765")
    assert result.exit_code == ExitStatus.CONFIG
    assert result.stderr == "wsserver: config: port (flag --port): is in use: 8765\n"


def test_show_is_toml_with_sources_and_without_secrets() -> None:
    result = invoke(
        "config", "show", WSSERVER_JWT_SECRET=SECRET, WSSERVER_PERMISSIONS__USER="monitor"
    )
    assert result.exit_code == 0
    assert "canary" not in result.output
    shown = tomllib.loads(result.stdout)
    assert shown["jwt_secret"] == "********"
    assert shown["permissions"] == {"user": ["monitor"]}
    assert "# env WSSERVER_JWT_SECRET" in result.stdout


def test_show_as_json() -> None:
    shown = json.loads(invoke("config", "show", "--dev", "--json", "--port", "1").stdout)
    assert shown["port"] == {"value": 1, "source": "flag --port"}
    assert shown["jwt_secret_file"] == {"value": "var/dev-jwt-secret", "source": "dev"}
    assert not Path("var").exists()


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_s_help_has_an_example(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert " ".join(["wsserver", *path]) in result.stdout


def test_the_command_starts_without_the_server() -> None:
    code = "import sys, wsserver.cli; print([m for m in ('tornado','jwt','sqlite_utils') "
    code += "if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_flag_that_needs_an_extra_is_a_fault_of_the_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsserver.config.channels.find_spec", lambda name: None)
    result = invoke("serve", "--workers", "2", WSSERVER_JWT_SECRET=SECRET)
    assert (result.exit_code, "pip install 'wsserver[workers]'" in result.stderr) == (78, True)
    result = invoke("db", "copy", "--to", "postgresql://u@db.example/x")
    assert (result.exit_code, "pip install 'wsserver[postgres]'" in result.stderr) == (78, True)
    assert invoke("db", "copy", "--to", "mysql://u@db.example/x").exit_code == 2
