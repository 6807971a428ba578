"""The server process of the demo: its keys, its configuration, its folder."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from scripts.server_process import ROOT, environment, stop
from wsserver.identity.tokens import sign_hmac

START_S = 30.0
ORGANIZATION = "shop"
ACCOUNT = "wechat"
RESPONDER = "assistant"
SALES = "bob"

CONFIGURATION = """\
host = "127.0.0.1"
allow_loopback_urls = true
delivery_backoff_s = 0.2
default_locale = "en"

[responders.{responder}]
kind = "openai"
url = "{ai}/v1"
api_key_file = "{folder}/ai.key"
model = "demo"
system = "You sell bicycles."
sender = {{ user_id = "assistant", username = "Assistant" }}

[accounts.{account}]
kind = "gewe"
url = "{messenger}/v2/api"
token_file = "{folder}/messenger.token"
key_file = "{folder}/callback.key"
app_id = "{app_id}"
organization_id = "{organization}"
members = ["{sales}"]
default_holder = "{responder}"
rate_per_minute = 6000

[rules.nobody_there]
kind = "waiting"
after_s = 120
"""


class ShopFailed(Exception):
    """The server did not start; the text is what it has printed."""


class Shop:
    """``wsserver serve`` in a folder of its own, with keys in files; its log is ``server.log``."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.api_key = f"sk-{secrets.token_hex(16)}"
        self.token = secrets.token_hex(16)
        self.callback_key = secrets.token_hex(16)
        self._secret = secrets.token_hex(32)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def keys(self) -> dict[str, str]:
        """What nobody may see, by name."""
        return {
            "key of the AI": self.api_key,
            "token of the messenger": self.token,
            "key of the callback": self.callback_key,
            "secret of tokens": self._secret,
        }

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def callback(self) -> str:
        """The address for the messenger's callbacks."""
        return f"{self.url}/intake/gewe/{ACCOUNT}?key={self.callback_key}"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "wsserver.toml"

    @property
    def log(self) -> str:
        """What it has printed."""
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def sign(self, user_id: str, role: str, **claims: Any) -> str:
        """A token for an hour."""
        now = time.time()
        payload = {"sub": user_id, "role": role, "iat": now - 1, "exp": now + 3600, **claims}
        return sign_hmac(self._secret.encode(), payload)

    async def start(self, ai: str, messenger: str, app_id: str) -> None:
        """Write keys and configuration, start, and wait until it listens."""
        for name, key in (
            ("ai.key", self.api_key),
            ("messenger.token", self.token),
            ("callback.key", self.callback_key),
            ("jwt.secret", self._secret),
        ):
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(key, encoding="utf-8")
        text = CONFIGURATION.format(
            ai=ai,
            messenger=messenger,
            app_id=app_id,
            folder=self.folder,
            organization=ORGANIZATION,
            account=ACCOUNT,
            responder=RESPONDER,
            sales=SALES,
        )
        self.config.write_text(
            f'data_dir = "{self.folder}"\njwt_secret_file = "{self.folder}/jwt.secret"\n{text}',
            encoding="utf-8",
        )
        with (self.folder / "server.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "wsserver", "serve", "--config", str(self.config)),
                *("--port", str(self.port)),
                cwd=ROOT,
                env=environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.returncode is None:
            if found := re.search(r"listening on http://\S+:(\d+)", self.log):
                self.port = int(found[1])
                return
            await asyncio.sleep(0.02)
        raise ShopFailed(f"the server did not start:\n{self.log}")

    async def printed_by(self, *words: str) -> str:
        """What another command of ``wsserver`` prints about this configuration."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "wsserver", *words, "--config", str(self.config)),
            cwd=ROOT,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return out.decode(errors="replace")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        await stop(self._process)
