"""Contexts: servers saved by name in the user's configuration folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsctl.atomic_file import replace_file
from wsctl.errors import BadUsage, Failed
from wsctl.output.writer import say

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Server:
    """One saved server. The token itself is never saved, only the path of its file."""

    url: str
    token_file: str | None = None


def contexts_file() -> Path:
    """``contexts.json`` in the user's configuration folder (XDG, macOS or Windows)."""
    from platformdirs import user_config_path

    return user_config_path("wsctl") / "contexts.json"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


class Contexts:
    """The saved servers and the current one; every change is written immediately, mode 0600."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or contexts_file()
        self.current: str | None = None
        self.servers: dict[str, Server] = {}
        self._load()

    def _load(self) -> None:
        try:
            self._restrict()
            kept = json.loads(self._path.read_bytes())
            self.servers = {
                name: Server(_text(entry["url"]), _text_or_none(entry.get("token_file")))
                for name, entry in kept["contexts"].items()
            }
            self.current = _text_or_none(kept.get("current"))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise Failed(f"cannot read {self._path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Failed(f"{self._path} is not valid: correct or remove it") from None

    def _restrict(self) -> None:
        """Remove permissions of other users, who could redirect tokens to their server."""
        mode = self._path.stat().st_mode & 0o777
        if mode & 0o077:
            with contextlib.suppress(
                PermissionError
            ):  # another user's file, which wsctl only reads
                self._path.chmod(mode & 0o700)
        if mode & 0o022:
            say(f"wsctl: others could write to {self._path}; check it with: wsctl context list")

    def get(self, name: str) -> Server:
        """The server of that name; raises ``BadUsage`` with similar names otherwise."""
        if name in self.servers:
            return self.servers[name]
        from difflib import get_close_matches

        near = get_close_matches(name, self.servers, n=1)
        hint = f" Did you mean {near[0]}?" if near else " See: wsctl context list"
        raise BadUsage(f"no context {name!r}.{hint}")

    def add(self, name: str, server: Server) -> None:
        """Save a server, replacing one of the same name; the first one becomes current."""
        if not _NAME.fullmatch(name):
            raise BadUsage(f"{name!r} is not a context name: use letters, digits, dot, - and _")
        with self._changing():
            self.servers[name] = server
            self.current = self.current or name

    def use(self, name: str) -> None:
        """Make a saved server the current one."""
        self.get(name)
        with self._changing():
            self.get(name)
            self.current = name

    def remove(self, name: str) -> None:
        """Remove a server; no other becomes current instead."""
        self.get(name)
        with self._changing():
            self.get(name)
            del self.servers[name]
            if self.current == name:
                self.current = None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Read, change and write under a lock, so that concurrent changes are not lost."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.current, self.servers = None, {}
            self._load()
            yield
            self._save()
        finally:
            os.close(lock)

    def _save(self) -> None:
        kept = {
            "current": self.current,
            "contexts": {name: asdict(server) for name, server in self.servers.items()},
        }
        try:
            with replace_file(self._path, mode=0o600) as file:
                file.write(json.dumps(kept, indent=2, ensure_ascii=False) + os.linesep)
        except OSError as error:
            raise Failed(f"cannot write {self._path}: {error.strerror}") from None
