"""``scripts/demo``: the whole loop of customer, AI and person, with keys that nobody sees."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.customer_demo.leaks import leaks, process_list
from tests.support.rst_blocks import block
from tests.support.server_process import ROOT, environment

COMMAND = (sys.executable, "-m", "scripts.customer_demo")


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end; its own folder is below ``folder``."""
    return subprocess.run(
        [*COMMAND, *args],
        cwd=ROOT,
        env=environment(TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def told(output: str) -> list[tuple[str, str]]:
    """Who and what of each line."""
    found = re.findall(r"^ *[\d.]+ s  (\S.{12}) (.+)$", output, re.MULTILINE)
    return [(who.strip(), what) for who, what in found]


def test_the_whole_loop(tmp_path: Path) -> None:
    done = run(tmp_path, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = told(done.stdout)
    assert [who for who, _ in lines] == [
        *("operator", "Bob", "Ann (WeChat)", "Assistant", "WeChat", "Bob"),
        *("Ann (WeChat)", "Bob", "Bob", "WeChat", "Ann (WeChat)", "Bob", "operator", "operator"),
    ]
    for number, text in (
        (5, "85 of 100 tokens"),
        (7, "takes over; the AI's request ends after"),
        (9, "Bob here"),
        (11, "has done the task"),
        (12, "would have fired"),
        (13, "finds no key"),
    ):
        assert text in lines[number][1]
    assert list(tmp_path.iterdir()) == [], "its folder is deleted"


def test_a_step_that_fails_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "--once", "--patience", "0.0001")
    assert done.returncode == 1
    assert re.fullmatch(r"scripts/demo: .+ did not come within 0.0001 s\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_it_says_where_to_look_and_ends_with_a_signal(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=environment(TMPDIR=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = ""
        while "log  " not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        (address,) = re.findall(r"conversation  (http://127\.0\.0\.1:\d+/console/\S+)", seen)
        assert "#ticket=" in address
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_keys_are_found_wherever_they_are() -> None:
    keys = {"key of the AI": "sk-1", "token": "t-2"}
    assert leaks(keys, [("the log", "a sk-1 b"), ("a file", b"t-2"), ("a page", "x")]) == [
        *("the key of the AI is in the log", "the token is in a file")
    ]
    if Path("/proc/self/cmdline").exists():
        assert "pytest" in process_list()


@pytest.mark.parametrize("readme", ["README.rst", "README.zh.rst"])
def test_the_readme_has_its_command(readme: str) -> None:
    (command,) = block(readme, "demo").commands
    assert os.access(ROOT / command, os.X_OK)
