"""A server process configured by settings, with an HTTP client; its log is checked."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.http_response import Response
from tests.support.server_process import ServerProcess
from tests.support.tokens import SECRET, token
from tests.support.waiting import PATIENCE_S, poll

API = "/api/v1/websocket"

_FAULTS = ("Traceback", '"level": "error"', '"level": "critical"', "Exception ignored")


class RunningServer(ServerProcess):
    """``wsserver serve`` with settings, given by the environment; it is started already.

    ``has_own_command``: the list of processes shows its command line, as it is no fork.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: Sequence[str] = (),
        has_own_command: bool = False,
        **settings: Any,
    ) -> None:
        self.database = folder / "wsserver.sqlite3"
        self.expects_faults = False
        """Set by a test that breaks the server on purpose."""
        chosen = {"jwt_secret": SECRET, "log_format": "json", "data_dir": folder, **settings}
        environment = {
            f"WSSERVER_{k.upper()}": _text(v) for k, v in chosen.items() if v is not None
        }
        has_file = settings.get("database_url") is None
        arguments = ["--database", str(self.database)] if has_file else []
        super().__init__(
            folder,
            *arguments,
            env=environment,
            prefix=prefix,
            is_preloaded=not (prefix or has_own_command),
        )
        self.start()

    def check_log(self) -> None:
        """The log has no traceback and no error."""
        if not self.expects_faults:
            faults = [line for line in self.lines if any(mark in line for mark in _FAULTS)]
            assert not faults, faults[:3]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """SIGTERM, unless it has ended: status 0 and no faults in the log."""
        if (ended := self.process.poll()) is not None:
            return ended
        status = super().stop(number)
        assert status == 0, (status, self.lines[-5:])
        self.check_log()
        return status

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
        """GET under the API's prefix, as an administrator by default."""
        return self.request("GET", API + path, bearer=bearer or ADMIN, **options)

    def post(self, path: str, body: Any = None, bearer: str | None = None, **options: Any) -> Any:
        return self.request("POST", API + path, body, bearer=bearer or ADMIN, **options)

    def put(self, path: str, body: Any = None, bearer: str | None = None) -> Response:
        return self.request("PUT", API + path, body, bearer=bearer or ADMIN)

    def patch(self, path: str, body: Any = None, bearer: str | None = None) -> Response:
        return self.request("PATCH", API + path, body, bearer=bearer or ADMIN)

    def delete(self, path: str, bearer: str | None = None) -> Response:
        return self.request("DELETE", API + path, bearer=bearer or ADMIN)

    def health(self) -> Any:
        """The document of ``/health``, whatever its status."""
        return self.request("GET", f"{API}/health").json()

    def until_empty(self) -> None:
        """Wait until no connection is open."""
        poll(lambda: self.health()["checks"]["connections"]["open"], lambda n: n == 0)


Start = Callable[..., RunningServer]
"""Starts a server with settings, as ``RunningServer`` does."""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


ADMIN = token("admin", role="admin", exp_in=36_000)
