"""What development mode leaves about, so that the first steps need no thought."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from wsserver.app import System
from wsserver.clock import Clock
from wsserver.config import ConfigFaults, Fault, Settings, secret_bytes
from wsserver.identity.claims import parse_claims
from wsserver.identity.tokens import sign_hs256

SERVER_FILE = "dev-server.json"
TOKEN_FILE = "dev-admin-token"  # noqa: S105 - a file's name
TOKEN_LIFETIME_S = 24 * 3600
CONSOLE_TICKET_S = 600.0


@contextlib.contextmanager
def first_steps(system: System, settings: Settings, url: str) -> Iterator[str]:
    """Leave address and token in ``data_dir`` for ``wsctl``; yields a text with what to try.

    The files go at the end; where servers share a folder, they are the last one's. Raises
    ``ConfigFaults`` where they cannot be written. With somebody else's keys there are no tokens of
    our own: no files, and an empty text.
    """
    secret = secret_bytes(settings)
    if secret is None:
        yield ""
        return
    now = int(Clock().wall())
    times = {"iat": now, "exp": now + TOKEN_LIFETIME_S}
    admin = {"sub": "dev-admin", "role": "admin", "sessions": "*", **times}
    user = {"sub": "dev-user", "username": "开发者", "sessions": "*", **times}
    ticket, _ = system.tickets.issue(parse_claims(admin), CONSOLE_TICKET_S)
    server_file, token_file = settings.data_dir / SERVER_FILE, settings.data_dir / TOKEN_FILE
    lines = (
        "development mode; try:",
        f"  console    {url}/console#ticket={ticket}",
        f"  wsctl      {_wsctl_line(url, token_file)}",
        f"  websocket  {_websocket_line(url, sign_hs256(secret, user))}",
    )
    ours = json.dumps({"url": url, "pid": os.getpid()}) + "\n"
    try:
        _write_private(server_file, ours)
        _write_private(token_file, sign_hs256(secret, admin) + "\n")
        yield "\n".join(lines) + "\n"
    finally:
        # A server on another database may have come to the same folder since.
        if server_file.exists() and server_file.read_text(encoding="utf-8") == ours:
            for path in (server_file, token_file):
                path.unlink(missing_ok=True)


def _wsctl_line(url: str, token_file: Path) -> str:
    words = [*_command("wsctl"), "--url", url, "--token-file", _from_here(token_file), "stats"]
    return shlex.join(words)


def _websocket_line(url: str, token: str) -> str:
    address = f"{url.replace('http', 'ws', 1)}/ws/chat?token={token}"
    return shlex.join([*_command("websockets"), address])


def _command(name: str) -> list[str]:
    """How to call a command that is installed beside this interpreter, or its module."""
    python = Path(sys.executable)
    script = python.with_name(name)
    return [_from_here(script)] if script.exists() else [_from_here(python), "-m", name]


def _from_here(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _write_private(path: Path, text: str) -> None:
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise ConfigFaults([Fault("data_dir", "start", message)]) from None
