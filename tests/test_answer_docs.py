"""docs/answers.rst: its commands and its program are run, and answered as shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.example_shell import ExampleShell, make_example_shell, serve
from tests.support.rst_blocks import block, blocks
from tests.support.shown_answers import SessionPage, fits

PAGE = "docs/answers.rst"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    (command,) = block("README.rst", "serve").commands
    yield from serve(make_example_shell(tmp_path), command)


@pytest.mark.long
def test_the_page_s_examples_are_answered_as_shown(shell: ExampleShell) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    variables = "\n".join(block(PAGE, "answers-variables").commands)
    answer: Any = {}
    message_id = ""
    with ExitStack() as opened:
        page = SessionPage(shell, opened)
        for example in blocks(PAGE):
            if example.name == "answers-variables" or example.language == "python":
                continue
            if example.language == "console":
                (command,) = example.commands
                said = shell.run(f"{variables}\nANSWER={message_id}\n{command}")
                if example.name == "answers-story":
                    assert "first text" in said
                    assert said.rstrip().endswith("assistant  completed")
                    continue
                answer = json.loads(said)
                message_id = answer.get("message_id", message_id)
                continue
            shown = json.loads(example.text)
            if shown.get("type") == "cancel_answer":
                reply = page.ask({**shown, "message_id": message_id})
                assert reply["error"]["code"] == "answer_ended"
            elif "type" in shown:
                assert fits(shown, push := page.push(shown["type"])), push
            else:
                assert fits(shown, answer), (shown, answer)


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible service that answers in three parts."""

    parts = ("It ", "should ", "fit.")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, body["stream"]) == ("/v1/chat/completions", True)
        assert self.headers["Authorization"] == "Bearer key"
        self.send_response(200)
        self.end_headers()
        for part in self.parts:
            self._send({"choices": [{"index": 0, "delta": {"content": part}}]})
        self._send({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, chunk: Any) -> None:
        self.wfile.write(b"data: %b\n\n" % json.dumps(chunk).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def test_the_program_streams_the_answer_of_a_model(shell: ExampleShell) -> None:
    (shell.folder / "stream_answer.py").write_text(block(PAGE, "answers-program").text)
    first, second, _ = block(PAGE, "answers-variables").commands
    with ExitStack() as opened:
        page = SessionPage(shell, opened)
        url = opened.enter_context(model())
        said = shell.run(
            f"{first}\n{second}\nexport OPENAI_BASE_URL={url} OPENAI_API_KEY=key\n"
            "python stream_answer.py s1 'Does it fit?'"
        )
        assert said == "completed\n"
        assert page.push("new_message")["message"]["state"] == "growing"
        end = page.push("answer_ended")
        assert end["message"]["content"] == "It should fit."


def test_the_program_says_why_it_could_not_begin(shell: ExampleShell) -> None:
    (shell.folder / "stream_answer.py").write_text(block(PAGE, "answers-program").text)
    (first, *_) = block(PAGE, "answers-variables").commands
    environ = {**shell.environ, "OPENAI_BASE_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "key"}
    done = subprocess.run(
        ["sh", "-ec", f"{shell.here(first)}\nTOKEN=none python stream_answer.py s1 hi"],
        cwd=shell.folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "token" in done.stderr
