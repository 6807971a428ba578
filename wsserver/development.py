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
from wsserver.config import Settings, secret_bytes
from wsserver.identity.claims import parse_claims
from wsserver.identity.tokens import sign_hs256

SERVER_FILE = "dev-server.json"
TOKEN_FILE = "dev-admin-token"  # noqa: S105 - a file's name
TOKEN_LIFETIME_S = 24 * 3600
CONSOLE_TICKET_S = 600.0


@contextlib.contextmanager
def announce(system: System, settings: Settings, url: str) -> Iterator[None]:
    """Print what to try, and leave address and token in ``data_dir`` for ``wsctl``.

    The files go when the server stops.
    """
    secret = secret_bytes(settings)
    if secret is None:  # development with somebody else's keys: no tokens of our own
        yield
        return
    now = Clock().wall()
    admin = {"sub": "dev-admin", "role": "admin", "sessions": "*"}
    times = {"iat": int(now), "exp": int(now) + TOKEN_LIFETIME_S}
    server_file = settings.data_dir / SERVER_FILE
    token_file = settings.data_dir / TOKEN_FILE
    _write_private(server_file, json.dumps({"url": url, "pid": os.getpid()}))
    _write_private(token_file, sign_hs256(secret, admin | times))
    user_token = sign_hs256(
        secret, {"sub": "dev-user", "sessions": "*", "username": "开发者"} | times
    )
    ticket, _ = system.tickets.issue(parse_claims(admin | times), CONSOLE_TICKET_S)
    commands = Path(sys.executable).parent
    socket_url = url.replace("http", "ws", 1)
    lines = {
        "console": f"{url}/console#ticket={ticket}",
        "wsctl": f"{_shown(commands / 'wsctl')} --url {url} --token-file {_shown(token_file)} stats",
        "websocket": (
            f"{_shown(commands / 'websockets')} '{socket_url}/ws/chat?token={user_token}'"
        ),
    }
    print("development mode; try:", file=sys.stderr)
    for name, line in lines.items():
        print(f"  {name:9}  {line}", file=sys.stderr)
    sys.stderr.flush()
    try:
        yield
    finally:
        for path in (server_file, token_file):
            path.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _shown(path: Path) -> str:
    """A path as one would type it from here."""
    try:
        path = path.relative_to(Path.cwd())
    except ValueError:
        pass
    return shlex.quote(str(path))
