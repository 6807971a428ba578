"""CONTRIBUTING.rst and docs/releasing.rst: paths, names and commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
from docutils import nodes

from tests.support.rst_blocks import ROOT, block, blocks, parse
from tests.support.script_machine import setup_arguments
from wsserver import __version__

PAGES = ["CONTRIBUTING.rst", "docs/releasing.rst"]
COMMANDS = sorted(
    {
        command
        for page in PAGES
        for example in blocks(page)
        if example.language == "console"
        for command in example.commands
        if command.startswith("scripts/")
    }
)
MADE_LATER = {"build/screenshots", "build/docs", "build/docs/index.html"}
FOLDERS = {"wsserver", "wsctl", "tests", "scripts", "docs"}


def rows(page: str) -> list[list[str]]:
    """The cells of each row of all tables of a page."""
    return [
        [cell.astext() for cell in row.children]
        for body in parse(page)[0].findall(nodes.tbody)
        for row in body.children
    ]


@pytest.mark.parametrize("page", PAGES)
def test_it_parses_without_a_complaint(page: str) -> None:
    assert parse(page)[1] == ""


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    targets = [node.get("refuri", "") for node in parse(page)[0].findall(nodes.reference)]
    for target in filter(None, targets):
        assert "://" in target or ((ROOT / page).parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_that_it_names_are_there(page: str) -> None:
    texts = {node.astext() for node in parse(page)[0].findall(nodes.literal)}
    paths = {text for text in texts if text.partition("/")[0] in FOLDERS and "/" in text}
    paths |= {text for text in texts if re.fullmatch(r"[\w.-]+\.(rst|py|toml)", text)}
    assert len(paths) > 3
    inside = [ROOT, ROOT / "wsserver", ROOT / "docs"]
    missing = {path for path in paths if not any((folder / path).exists() for folder in inside)}
    assert missing == set()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("wsserver/web/resources/routes.py", "_RESOURCES"),
        ("tests/web/test_roles.py", "ALLOWED"),
        ("wsserver/protocol/commands.py", "CHAT_COMMANDS"),
        ("wsserver/protocol/commands.py", "MONITOR_COMMANDS"),
        ("wsserver/protocol/commands.py", "Command"),
        ("wsserver/realtime/commands/chat_commands.py", "ChatCommands"),
        ("wsserver/web/api/context.py", "WebContext"),
        ("wsserver/config/settings.py", "Settings"),
        ("wsserver/config/load.py", "_SPELLINGS"),
        ("tests/storage/test_migrations.py", "RELEASED"),
        ("wsctl/cli/root.py", "COMMANDS"),
        ("setup.py", "REPOSITORY"),
    ],
)
def test_the_names_that_it_names_are_in_their_files(file: str, name: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(class )?{name}\b", text, re.MULTILINE)
    assert any(name in parse(page)[0].astext() for page in PAGES)


def test_the_map_has_every_package() -> None:
    shown = {row[0] for row in rows("CONTRIBUTING.rst") if row[0].endswith("/")}
    packages = {
        f"{path.relative_to(ROOT)}/"
        for top in ("wsserver", "wsctl")
        for path in (ROOT / top, *(ROOT / top).iterdir())
        if path.is_dir() and path.name != "__pycache__"
    }
    assert packages <= shown
    assert all((ROOT / path).is_dir() for path in shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_scripts_exist_and_accept_their_arguments(command: str) -> None:
    script, *args = shlex.split(command)
    assert os.access(ROOT / script, os.X_OK)
    program = {
        "scripts/bench": ["scripts.benchmark", *args, "--help"],
        "scripts/memory": ["scripts.benchmark.memory", *args, "--help"],
        "scripts/torture": ["scripts.reliability", *args, "--help"],
        "scripts/serve-cluster": ["scripts.local_cluster", *args, "--help"],
        "scripts/demo": ["scripts.customer_demo", *args, "--help"],
        "scripts/serve": ["wsserver", "serve", *args, "--help"],
        "scripts/screenshots": ["scripts.pictures", *args, "--help"],
        "scripts/manual": ["scripts.manual_page", "--check"],
    }.get(script)
    if program is not None:
        call = [sys.executable, "-m", *program]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    if script == "scripts/test":
        paths = [ROOT / arg for arg in args if "/" in arg]
        assert all(path.exists() for path in paths)
        if "-k" in args:
            word = args[args.index("-k") + 1]
            assert re.search(rf"def test_\w*{word}", paths[0].read_text(encoding="utf-8"))


def test_the_names_of_the_checks_are_those_of_the_script() -> None:
    script = (ROOT / "scripts/check").read_text(encoding="utf-8")
    (names,) = re.findall(r"^all=\((.*)\)$", script, re.MULTILINE)
    shown = [row[0] for row in rows("CONTRIBUTING.rst") if not row[0].endswith("/")]
    assert shown == names.split()
    some, *_ = [c for c in block("CONTRIBUTING.rst", "check-commands").commands if " " in c]
    assert set(some.split()[1:]) <= set(shown)


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    heading = re.search(r"^(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert heading is not None
    assert heading[1] == __version__


def test_git_ignores_what_the_readme_makes() -> None:
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    made = {*re.findall(r"> ([\w.-]+)$", text, re.MULTILINE), "var/x", ".venv/x", "build/x"}
    made |= {example.name for example in blocks("README.rst") if example.name.endswith(".py")}
    assert {"alice.token", "hello.py"} <= made
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    for path in sorted(made):
        done = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT)
        assert done.returncode == 0, path


def test_nothing_in_the_clone_is_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    git = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout == ""


def test_the_pages_of_the_site_s_root_files_include_them() -> None:
    for path in (ROOT / "docs/project").iterdir():
        assert path.read_text(encoding="utf-8") == f".. include:: ../../{path.name}\n"
        assert (ROOT / path.name).is_file()


def test_the_extra_test_has_the_tools_of_the_extra_docs() -> None:
    extras = setup_arguments()["extras_require"]
    assert set(extras["docs"]) <= set(extras["test"])
