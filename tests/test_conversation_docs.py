"""docs/conversations.rst: its commands are run, and answered as shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.example_shell import ExampleShell, make_example_shell, serve
from tests.support.rst_blocks import block, blocks
from tests.support.shown_answers import SessionPage, fits
from wsserver.protocol.commands import CHAT_COMMANDS

PAGE = "docs/conversations.rst"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    (command,) = block("README.rst", "serve").commands
    yield from serve(make_example_shell(tmp_path), command)


@pytest.mark.long
def test_the_page_s_examples_are_answered_as_shown(shell: ExampleShell) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    variables = "\n".join(block(PAGE, "conversations-variables").commands)
    answer: Any = None
    with ExitStack() as opened:
        page = SessionPage(shell, opened)
        for example in blocks(PAGE):
            if example.name == "conversations-variables":
                continue
            if example.language == "console":
                for command in example.commands:
                    output = shell.run(f"{variables}\n{command}")
                    if command.startswith("curl"):
                        answer = json.loads(output)
                continue
            shown = json.loads(example.text)
            if shown.get("type") in CHAT_COMMANDS and "ref" in shown:
                answer = page.ask(shown)
            elif "timestamp" in shown:
                page.await_like(shown)
            else:
                assert fits(shown, answer), (shown, answer)
        assert answer is not None
