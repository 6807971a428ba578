"""Packaging: metadata, scripts and their stamp, without installing anything."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from scripts.advisories import judge
from tests.support.script_machine import (
    FAKE_PYTHON,
    make_machine,
    program,
    run_script,
    setup_arguments,
    start_script,
)
from wsserver import __version__

ROOT = Path(__file__).parents[1]


def test_the_version_is_defined_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert "version" not in setup_arguments(), "computed, not written again"
    shown = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines()[-1] == __version__


@pytest.mark.parametrize("entry", setup_arguments()["entry_points"]["console_scripts"])
def test_entry_points_can_be_called(entry: str) -> None:
    module, _, function = entry.partition("=")[2].partition(":")
    if not (ROOT / module.partition(".")[0]).is_dir():
        pytest.skip(f"{module} is not there yet")
    assert callable(getattr(import_module(module), function))


def test_every_requirement_has_an_upper_bound() -> None:
    arguments = setup_arguments()
    extras = arguments["extras_require"].values()
    for requirement in [*arguments["install_requires"], *(one for few in extras for one in few)]:
        assert re.search(r"==|<", requirement), requirement


def test_files_that_are_installed_beside_the_packages_are_there() -> None:
    files = dict(setup_arguments()["data_files"])
    assert files["share/man/man1"] == ["docs/wsctl.1"]
    for names in files.values():
        assert all((ROOT / name).is_file() for name in names)


def test_modules_that_may_be_compiled_are_there_and_are_compiled_only_if_wanted() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.findall(r'"(wsserver/\S+\.py)"', text)
    assert "wsserver/wire/poller.py" in listed
    assert [name for name in listed if not (ROOT / name).is_file()] == []
    shown = subprocess.run(
        [sys.executable, "setup.py", "--help-commands"],
        cwd=ROOT,
        env=os.environ | {"WSSERVER_COMPILE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mypy" not in shown.stdout + shown.stderr, "the compiler is not even imported"


def test_setuptools_is_new_enough_for_static_globs_and_old_enough_for_the_tests() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert build["requires"] == ["setuptools>=77,<82"]


@pytest.mark.parametrize(
    "script",
    [
        "scripts/serve",
        "scripts/serve-cluster",
        "scripts/demo",
        "scripts/test",
        "scripts/bench",
        "scripts/memory",
        "scripts/torture",
        "scripts/manual",
        "scripts/screenshots",
        "scripts/audit",
        ".ci/run",
    ],
)
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = "bash" if path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash") else "sh"
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return make_machine(tmp_path)


def test_no_python_is_said_clearly(machine: Path) -> None:
    for shim in ("python3.13", "python3.11"):  # shims that are there and cannot start
        program(machine / "bin" / shim, "exit 127")
    done = run_script(machine, "serve")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer, and found none" in done.stderr


def test_a_python_without_ensurepip_says_what_to_install(machine: Path) -> None:
    text = 'case "$*" in *ensurepip*) exit 1 ;; *print*) echo 3.11 ;; esac'
    program(machine / "bin" / "python3", text)
    done = run_script(machine, "serve")
    assert done.returncode == 1
    assert "apt-get install python3.11-venv" in done.stderr


# Learns to make environments once the package is there.
FAKE_BARE_PYTHON = """
case "$*" in
    *ensurepip*) exec test -e installed-venv ;;
    *print*) echo 3.11 ;;
    *"-m venv"*) mkdir -p .venv/bin; cat "$0" >.venv/bin/python; chmod +x .venv/bin/python ;;
    *"-m wsserver"*) echo "served" ;;
esac
"""


def test_root_on_debian_gets_ensurepip_installed(machine: Path) -> None:
    for tool in ("id", "test"):
        (machine / "bin" / tool).unlink(missing_ok=True)
    program(machine / "bin" / "id", "echo 0")
    program(machine / "bin" / "test", "[ -e installed-venv ]")
    program(machine / "bin" / "python3", FAKE_BARE_PYTHON)
    program(machine / "bin" / "apt-get", 'echo "$@" >>asked; : >installed-venv')
    done = run_script(machine, "serve")
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr
    asked = (machine / "asked").read_text().splitlines()
    assert asked == ["install -qq --no-install-recommends python3.11-venv"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_two_concurrent_starts_install_once(machine: Path) -> None:
    flock = shutil.which("flock")
    assert flock is not None
    (machine / "bin" / "flock").symlink_to(flock)
    os.mkfifo(machine / "gate")
    program(
        machine / "bin" / "python3.12",
        'case "$*" in *"pip install"*) cat gate ;; esac' + FAKE_PYTHON,
    )
    with start_script(machine, "serve") as first:
        assert first.stderr is not None
        while "installing into .venv" not in first.stderr.readline():
            assert first.poll() is None
        with start_script(machine, "serve") as second:
            assert second.stderr is not None
            waiting = second.stderr.readline()
            (machine / "gate").write_text("")  # also where the assertion fails: nothing is left
            assert "waiting for another installation" in waiting
            said = [first.stderr.read(), second.stderr.read()]
    assert (first.returncode, second.returncode) == (0, 0)
    assert sum(text.count("installed: ") for text in said) == 1


def test_serve_installs_once_and_starts_in_the_root(machine: Path) -> None:
    program(machine / "bin" / "python3.12", FAKE_PYTHON)
    first = run_script(machine, "serve", "--port", "9000")
    assert first.stdout.splitlines() == [f"in {machine}: -m wsserver serve --dev --port 9000"]
    assert "installed: " in first.stderr
    again = run_script(machine, "serve")
    assert (again.stdout, again.stderr) == (f"in {machine}: -m wsserver serve --dev\n", "")
    with (machine / "setup.py").open("a") as file:
        file.write("# changed\n")
    assert "installed: " in run_script(machine, "serve").stderr


def test_the_packages_of_the_tests_are_enough_to_serve(machine: Path) -> None:
    program(machine / "bin" / "python3.12", FAKE_PYTHON)
    program(machine / "bin" / "chromium", "")
    first = run_script(machine, "test", "-k", "a b")
    assert first.stdout.splitlines() == [
        f"in {machine}: -m pytest -n 3 --dist loadfile --no-loadscope-reorder"
        " -o tmp_path_retention_count=1 -k a b"
    ]
    assert "--editable .[test]" in first.stderr
    assert run_script(machine, "test").stderr == ""
    assert run_script(machine, "serve").stderr == ""


def test_the_benchmark_adds_its_packages_to_those_of_the_tests(machine: Path) -> None:
    program(machine / "bin" / "python3.12", FAKE_PYTHON)
    program(machine / "bin" / "chromium", "")
    run_script(machine, "test")
    first = run_script(machine, "bench", "--quick")
    assert first.stdout.splitlines() == [f"in {machine}: -m scripts.benchmark --quick"]
    assert "--editable .[bench]" in first.stderr
    for script in ("bench", "test", "memory", "torture", "serve"):
        assert run_script(machine, script).stderr == ""


def test_without_chromium_the_tests_say_so(machine: Path) -> None:
    program(machine / ".venv" / "bin" / "python", FAKE_PYTHON)
    (machine / "bin" / "id").unlink()
    program(machine / "bin" / "id", "echo 1000")
    done = run_script(machine, "test")
    assert done.returncode == 0
    assert "no chromium on PATH: the browser test will be skipped" in done.stderr


# Knows no package before its lists were updated, as in a fresh container; never the `unknown` one.
FAKE_APT = """
echo "$1" >>asked
for name; do :; done
if [ "$1" = update ]; then
    echo >updated
elif [ -e updated ] && [ "$(cat unknown 2>/dev/null)" != "$name" ]; then
    cat "$0" >"${0%/*}/$name" && chmod +x "${0%/*}/$name"
else
    exit 100
fi
"""


@pytest.mark.parametrize(
    ("unknown", "installed", "steps"),
    [
        ("", "chromium-headless-shell", ["install", "update", "install"]),
        ("chromium-headless-shell", "chromium", ["install", "update", "install", "install"]),
    ],
)
def test_root_gets_chromium_installed_once(
    machine: Path, unknown: str, installed: str, steps: list[str]
) -> None:
    (machine / "unknown").write_text(unknown)
    (machine / "bin" / "id").unlink()
    program(machine / "bin" / "id", "echo 0")
    program(machine / "bin" / "python3.12", FAKE_PYTHON)
    program(machine / "bin" / "apt-get", FAKE_APT)
    first = run_script(machine, "test")
    assert first.returncode == 0
    assert "no chromium" not in first.stderr
    assert (machine / "bin" / installed).exists()
    asked = (machine / "asked").read_text().splitlines()
    assert asked == steps
    assert run_script(machine, "test").stderr == ""
    assert (machine / "asked").read_text().splitlines() == asked


# Advisories


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SOUND = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
FAULTY = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("output", "said", "status", "words"),
    [
        (report(SOUND), "", 0, "no known vulnerability in 1 packages"),
        (
            report(SOUND, UNKNOWN),
            "",
            0,
            "skipped: not looked up, as the index does not have them: b",
        ),
        (report(SOUND, FAULTY), "", 1, "c 2: CVE-1, fixed in 3"),
        (report(FAULTY, UNKNOWN), "", 1, "c 2: CVE-1, fixed in 3"),
        (report(UNKNOWN), "No known vulnerabilities found", 75, "skipped: the index has no advis"),
        (report(), "", 75, "skipped:"),
        ("", "x\nConnectionError: Max retries exceeded", 75, "skipped: no advisories without"),
        ("", "ModuleNotFoundError: No module named 'pip_audit'", 1, "pip-audit failed: Module"),
        ("", "", 1, "pip-audit failed: no report"),
        ("[]", "TypeError", 1, "pip-audit failed: TypeError"),
    ],
)
def test_a_scan_of_advisories_passes_only_where_something_was_looked_up(
    output: str, said: str, status: int, words: str
) -> None:
    verdict = judge(output, said)
    assert verdict.status == status
    assert any(line.startswith(words) for line in verdict.lines)


def test_plain_installations_bring_uvloop_where_it_has_wheels() -> None:
    (found,) = (one for one in setup_arguments()["install_requires"] if one.startswith("uvloop"))
    marker = Requirement(found).marker
    assert marker is not None
    linux = {"platform_python_implementation": "CPython", "sys_platform": "linux"}
    for machine, version, wanted in (
        ("x86_64", "3.11", True),
        ("aarch64", "3.15", True),
        ("riscv64", "3.13", False),
        ("x86_64", "3.16", False),
    ):
        more = {"platform_machine": machine, "python_version": version}
        assert marker.evaluate({**linux, **more}) is wanted
    more = {"platform_machine": "x86_64", "platform_python_implementation": "PyPy"}
    assert marker.evaluate({**linux, **more}) is False


def test_no_compiled_struct_has_options_or_arguments_that_mypyc_would_drop() -> None:
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    compiled = next(
        ast.literal_eval(each.value)
        for each in setup.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "COMPILED"
    )
    dropped = [
        f"{path}: {each.name}"
        for path in compiled
        for each in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(each, ast.ClassDef)
        and (
            {word.arg for word in each.keywords} - {"frozen"}
            or any(ast.unparse(base).startswith("Request[") for base in each.bases)
        )
    ]
    assert dropped == []
