"""Development mode (``--dev``): files for ``wsctl``, and the lines to try that are printed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from wsserver.config import ConfigFaults, Fault, secret_bytes
from wsserver.server import Server

SERVER_FILE = "dev-server.json"
TOKEN_FILE = "dev-admin-token"  # noqa: S105 - a file's name
TOKEN_LIFETIME_S = 24 * 3600
RENEWAL_S = 3600.0
"""Much shorter: a machine that was asleep finds the token expired, and no timer has run."""
TICKET_S = 600.0


@contextlib.contextmanager
def first_steps(server: Server) -> Iterator[str]:
    """Write URL and token for ``wsctl`` into ``data_dir``; yields the text with what to try.

    The token is renewed while the server runs. The files are removed at the end; where servers
    share a folder, they are the last one's. Raises ``ConfigFaults`` where they cannot be written.
    Without a secret to sign with there are no files, and the text is empty.
    """
    settings = server.settings
    if secret_bytes(settings) is None:
        yield ""
        return
    server_file, token_file = settings.data_dir / SERVER_FILE, settings.data_dir / TOKEN_FILE
    ours = json.dumps({"url": server.url, "pid": os.getpid()}) + "\n"

    def write_token() -> None:
        token = server.token("dev-admin", ttl_s=TOKEN_LIFETIME_S, role="admin", sessions="*")
        _write_private(token_file, token + "\n")

    def are_ours() -> bool:
        # A server on another database may have come to the same folder since.
        return server_file.exists() and server_file.read_text(encoding="utf-8") == ours

    try:
        _write_private(server_file, ours)
        write_token()
        server.spawn(_renew(write_token, are_ours), name="development token")
        yield _text(server, token_file)
    finally:
        if are_ours():
            for path in (server_file, token_file):
                path.unlink(missing_ok=True)


async def _renew(write_token: Callable[[], None], are_ours: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(RENEWAL_S)
        if are_ours():
            write_token()


def _text(server: Server, token_file: Path) -> str:
    # Tickets: a token in an address would be good for a day in a shell's history.
    admin = server.ticket("dev-admin", ttl_s=TICKET_S, role="admin", sessions="*")
    user = server.ticket("dev-user", ttl_s=TICKET_S, username="开发者", sessions="*")
    wsctl = [*_command("wsctl"), "--url", server.url, "--token-file", _from_here(token_file)]
    websocket = [*_command("websockets"), server.websocket_url("/ws/chat", ticket=user)]
    lines = (
        f"development mode; try (a ticket works once, within {TICKET_S / 60:.0f} minutes):",
        f"  console    {server.url}/console#ticket={admin}",
        f"  wsctl      {shlex.join([*wsctl, 'stats'])}",
        f"  websocket  {shlex.join(websocket)}",
    )
    return "\n".join(lines) + "\n"


def _command(name: str) -> list[str]:
    """The words that start a command installed beside this interpreter, or its module."""
    python = Path(sys.executable)
    script = python.with_name(name)
    return [_from_here(script)] if script.exists() else [_from_here(python), "-m", name]


def _from_here(path: Path) -> str:
    """A path relative to the working folder, where it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")  # never half a token for who reads now
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise ConfigFaults([Fault("data_dir", "start", message)]) from None
