"""What development mode leaves about, so that the first steps need no thought."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsserver.app import System
from wsserver.clock import Clock
from wsserver.config import ConfigFaults, Fault, Settings, secret_bytes
from wsserver.identity.claims import parse_claims
from wsserver.identity.tokens import sign_hmac

SERVER_FILE = "dev-server.json"
TOKEN_FILE = "dev-admin-token"  # noqa: S105 - a file's name
TOKEN_LIFETIME_S = 24 * 3600
RENEWAL_S = 3600.0
"""Much shorter: a machine that was asleep finds the token expired, and no timer has run."""
TICKET_S = 600.0

ADMIN = {"sub": "dev-admin", "role": "admin", "sessions": "*"}
USER = {"sub": "dev-user", "username": "开发者", "sessions": "*"}


@contextlib.contextmanager
def first_steps(system: System, settings: Settings, url: str) -> Iterator[str]:
    """Leave address and token in ``data_dir`` for ``wsctl``; yields a text with what to try.

    The token is renewed while the server runs. The files go at the end; where servers share a
    folder, they are the last one's. Raises ``ConfigFaults`` where they cannot be written. With
    somebody else's keys there are no tokens of our own: no files, and an empty text.
    """
    secret = secret_bytes(settings)
    if secret is None:
        yield ""
        return
    server_file, token_file = settings.data_dir / SERVER_FILE, settings.data_dir / TOKEN_FILE
    ours = json.dumps({"url": url, "pid": os.getpid()}) + "\n"

    def write_token() -> None:
        _write_private(token_file, _admin_token(settings, secret) + "\n")

    def are_ours() -> bool:
        # A server on another database may have come to the same folder since.
        return server_file.exists() and server_file.read_text(encoding="utf-8") == ours

    try:
        _write_private(server_file, ours)
        write_token()
        system.service.tasks.spawn(_renew(write_token, are_ours), name="development token")
        yield _text(url, token_file, _ticket(system, ADMIN), _ticket(system, USER))
    finally:
        if are_ours():
            for path in (server_file, token_file):
                path.unlink(missing_ok=True)


async def _renew(write_token: Callable[[], None], are_ours: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(RENEWAL_S)
        if are_ours():
            write_token()


def _admin_token(settings: Settings, secret: bytes) -> str:
    """A token that this very server takes, whatever it wants of tokens."""
    parties = {"iss": settings.jwt_issuer, "aud": settings.jwt_audience}
    payload = {
        **ADMIN,
        settings.jwt_user_claim: ADMIN["sub"],
        **_times(),
        "jti": secrets.token_hex(8),
        **{name: value for name, value in parties.items() if value is not None},
    }
    return sign_hmac(secret, payload, settings.jwt_algorithm[0])


def _ticket(system: System, claims: Mapping[str, Any]) -> str:
    """What may stand in an address: a token there would be good for a day in a shell's history."""
    ticket, _ = system.tickets.issue(parse_claims({**claims, **_times()}), TICKET_S)
    return ticket


def _times() -> dict[str, int]:
    now = int(Clock().wall())
    return {"iat": now, "exp": now + TOKEN_LIFETIME_S}


def _text(url: str, token_file: Path, admin_ticket: str, user_ticket: str) -> str:
    lines = (
        f"development mode; try (a ticket works once, within {TICKET_S / 60:.0f} minutes):",
        f"  console    {url}/console#ticket={admin_ticket}&endpoint=monitor",
        f"  wsctl      {_wsctl_line(url, token_file)}",
        f"  websocket  {_websocket_line(url, user_ticket)}",
    )
    return "\n".join(lines) + "\n"


def _wsctl_line(url: str, token_file: Path) -> str:
    words = [*_command("wsctl"), "--url", url, "--token-file", _from_here(token_file), "stats"]
    return shlex.join(words)


def _websocket_line(url: str, ticket: str) -> str:
    address = f"{url.replace('http', 'ws', 1)}/ws/chat?ticket={ticket}"
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
