"""docs/sdk.rst, and the README's program for backends: they run as shown."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import wsserver.sdk
from tests.support.example_shell import ExampleShell, make_example_shell, serve
from tests.support.rst_blocks import ROOT, block
from tests.support.waiting import PATIENCE_S
from wsserver.clock import Clock
from wsserver.notifications.webhooks import sign

PAGE = "docs/sdk.rst"
SECRET = "some-32-bytes-of-random-characters"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    (command,) = block("README.rst", "serve").commands
    yield from serve(make_example_shell(tmp_path), command)


def run(shell: ExampleShell, page: str, name: str) -> str:
    (shell.folder / name).write_text(shell.here(block(page, name).text), encoding="utf-8")
    return shell.run(f"python {name}")


def test_the_programs_do_what_they_say(shell: ExampleShell) -> None:
    assert re.fullmatch(r"msg_\w+ is number 1 in session:s1\n", run(shell, PAGE, "first.py"))
    assert run(shell, PAGE, "sign.py").count(".") == 2
    assert run(shell, PAGE, "publish.py") == "online: 0\n"
    assert run(shell, PAGE, "answer.py") == "completed 39\n"
    assert "It should fit." in shell.run("wsctl history s1")
    assert run(shell, "README.rst", "backend.py") == "completed\n"
    assert "It will be with you tomorrow" in shell.run("wsctl history s1")


def test_the_receiver_takes_only_genuine_webhooks(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(block(PAGE, "hooks.py").text, encoding="utf-8")
    shell = make_example_shell(tmp_path)
    shell.environ |= {"WEBHOOK_SECRET": SECRET, "PORT": "0"}
    body = json.dumps({"name": "user_connected", "timestamp": "t", "user_id": "u1"}).encode()
    with shell.start("python hooks.py", stderr=subprocess.DEVNULL) as receiver:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().split()[-1]
        for secret, status in ((SECRET, 204), ("another", 400)):
            headers = {
                "X-Wsserver-Signature": sign(body, secret, int(Clock().wall())),
                "X-Wsserver-Delivery": "hook_1",
            }
            request = Request(f"http://127.0.0.1:{port}/", body, headers)
            try:
                answered = urlopen(request, timeout=PATIENCE_S).status
            except HTTPError as error:
                answered = error.code
            assert answered == status
        assert receiver.stdout.readline() == "user_connected u1 hook_1\n"
        receiver.terminate()


def test_the_table_of_errors_is_complete() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for name in wsserver.sdk.__all__:
        found = getattr(wsserver.sdk, name)
        if isinstance(found, type) and issubclass(found, wsserver.sdk.ApiError):
            assert f"``{name}``" in text, name
