"""A server process with an HTTP client, stopped with a signal; its log is checked."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.http_response import Response
from tests.support.tokens import SECRET, token

ROOT = Path(__file__).parents[2]
API = "/api/v1/websocket"
PATIENCE_S = 10.0
"""How long a test waits for what must come; one that gets there has failed."""

_READY = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_FAULTS = ("Traceback", '"level": "error"', '"level": "critical"', "Exception ignored")


class RunningServer:
    """``wsserver serve`` on a free port of 127.0.0.1.

    ``prefix``: a command that runs the server's command, which follows it, in its own place.
    """

    def __init__(self, folder: Path, *, prefix: Sequence[str] = (), **settings: Any) -> None:
        self.folder = folder
        self.database = folder / "wsserver.sqlite3"
        self.expects_faults = False
        """Set by a test that breaks the server on purpose."""
        self.lines: list[str] = []
        """Everything it has written to stderr."""
        self._news = threading.Condition()
        chosen = {"jwt_secret": SECRET, "log_format": "json", "data_dir": folder, **settings}
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("WSSERVER_")},
            "PYTHONPATH": str(ROOT),
            **{f"WSSERVER_{k.upper()}": _text(v) for k, v in chosen.items() if v is not None},
        }
        command = [*prefix, sys.executable, "-m", "wsserver", "serve", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--database", str(self.database)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = _READY.search(self.wait_for_line("listening on"))
        assert ready is not None, self.lines
        self.port = int(ready[1])
        self.url = f"ws://127.0.0.1:{self.port}"

    # What it says

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for_line(self, part: str) -> str:
        """The first line of stderr with this in it."""

        def found() -> str | None:
            return next((line for line in self.lines if part in line), None)

        with self._news:
            self._news.wait_for(
                lambda: found() or self.process.poll() is not None, timeout=PATIENCE_S
            )
        line = found()
        assert line is not None, f"no line with {part!r}: {self.lines[-20:]}"
        return line

    def check_log(self) -> None:
        """No traceback and no error may stand in the log."""
        if not self.expects_faults:
            faults = [line for line in self.lines if any(mark in line for mark in _FAULTS)]
            assert not faults, faults[:3]

    # What it answers

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request; a body that is not bytes goes out as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        fields = dict(headers or {})
        if bearer is not None:
            fields["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, body, fields)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, named, answer.read())
        finally:
            connection.close()

    def get(self, path: str, bearer: str | None = None, **options: Any) -> Response:
        """GET under the API's prefix, as an administrator unless told otherwise."""
        return self.request("GET", API + path, bearer=bearer or ADMIN, **options)

    def post(self, path: str, body: Any = None, bearer: str | None = None, **options: Any) -> Any:
        return self.request("POST", API + path, body, bearer=bearer or ADMIN, **options)

    def put(self, path: str, body: Any = None, bearer: str | None = None) -> Response:
        return self.request("PUT", API + path, body, bearer=bearer or ADMIN)

    def delete(self, path: str, bearer: str | None = None) -> Response:
        return self.request("DELETE", API + path, bearer=bearer or ADMIN)

    def health(self) -> Any:
        """The document of ``/health``, whatever its status."""
        return self.request("GET", f"{API}/health").json()

    def until(self, ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
        """Ask again and again until the answer is the wanted one."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = ask()
            if wanted(answer):
                return answer
            assert time.monotonic() < deadline, answer

    def until_empty(self) -> None:
        """Wait until nobody is connected."""
        self.until(lambda: self.health()["checks"]["connections"]["open"], lambda n: n == 0)

    # Its end

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(PATIENCE_S)
        return status

    def stop(self) -> None:
        """SIGTERM, which must end it in order."""
        if self.process.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            status = self.wait(12)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise
        assert status == 0, (status, self.lines[-5:])
        self.check_log()

    def kill(self) -> None:
        """Leave no process behind, whatever the test has come to."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


Start = Callable[..., RunningServer]
"""Starts a server with settings, as ``RunningServer`` does."""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


ADMIN = token("admin", role="admin", exp_in=36_000)
