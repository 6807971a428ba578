"""docs/moderation.rst: its commands and its hook are run, and answered as shown."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.example_shell import ExampleShell, assigned, make_example_shell, serve
from tests.support.rst_blocks import Block, block, blocks
from tests.support.shown_answers import fits
from tests.support.waiting import PATIENCE_S, poll

PAGE = "docs/moderation.rst"


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The program of the page, on a free port; returns the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    program = tmp_path_factory.mktemp("hook") / "hook.py"
    program.write_text(block(PAGE, "hook.py").text.replace("9000", str(port)))
    running = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.DEVNULL)
    poll(lambda: is_open(port), lambda found: found)
    yield port
    running.kill()
    running.wait()


@pytest.fixture
def shell(tmp_path: Path, hook: int) -> Iterator[ExampleShell]:
    made = make_example_shell(tmp_path)
    made.environ |= {
        "WSSERVER_PUBLISH_HOOK_URL": f"http://127.0.0.1:{hook}/hook",
        "WSSERVER_WEBHOOK_SECRET": "s" * 32,
        "WSSERVER_ALLOW_LOOPBACK_URLS": "true",
        "WSSERVER_PUBLISH_HOOK_TIMEOUT_MS": "10000",
    }
    (command,) = block("README.rst", "serve").commands
    yield from serve(made, command)


def is_open(port: int) -> bool:
    with closing(socket.socket()) as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.long
def test_the_page_s_examples_are_answered_as_shown(shell: ExampleShell) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    variables = assigned(shell, block(PAGE, "moderation-variables").commands)
    outputs: dict[str, str] = {}
    answer: Any = None
    for example in blocks(PAGE):
        if example.language == "json" and "message_id" in example.text:
            assert fits(json.loads(example.text), answer), (example.text, answer)
        elif example.language == "console" and example.name != "moderation-variables":
            if example.name == "moderation-search":
                ask_the_hook(shell)
            for command in commands_of(example):
                script = f"{variables}\n{command}"
                if command.startswith("export "):
                    variables += "\n" + assigned(shell, [*variables.splitlines(), command])
                    continue
                if example.name == "moderation-search":  # it is indexed soon
                    outputs[command] = poll(partial(shell.run, script), lambda said: "s1" in said)
                    continue
                outputs[command] = shell.run(script)
                if outputs[command].startswith('{"message_id"'):
                    answer = json.loads(outputs[command])
    assert "messages" in outputs["wsctl erase alice --dry-run"]
    assert "alice" in outputs["wsctl erase alice --yes"]
    exported = (shell.folder / "alice.ndjson").read_text(encoding="utf-8")
    assert "my credit card" in exported
    last = json.loads(outputs[list(outputs)[-1]])
    assert last["erased"]["messages"] == 0  # all was erased before


def commands_of(example: Block) -> list[str]:
    """The commands of a block; each block has nothing else."""
    assert len(example.commands) == len(example.text.splitlines()), example.text
    return example.commands


def ask_the_hook(shell: ExampleShell) -> None:
    """Let alice say something to be found, exported and erased; and what the hook refuses."""
    token = shell.run("wsctl token create --user alice --sessions s1").strip()
    url = shell.url.replace("http", "ws") + "/ws/chat"
    protocols: Any = ["wsserver.v1", f"bearer.{token}"]
    with connect(url, subprotocols=protocols) as client:

        def ask(**command: Any) -> Any:
            client.send(json.dumps({"ref": 1, "session_id": "s1", **command}))
            while "ref" not in (message := json.loads(client.recv(timeout=PATIENCE_S))):
                pass
            return message

        assert ask(type="join_session")["type"] == "session_joined"
        refused = ask(type="send_message", content="to the casino")
        assert refused["error"]["code"] == "rejected"
        assert refused["error"]["reason"] == "advertising"
        for content in ("here is my credit card", "我要退款"):
            assert ask(type="send_message", content=content)["type"] == "ack"
