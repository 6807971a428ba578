"""State file with the position of the last export, and its lock: one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wsctl.atomic_file import replace_file
from wsctl.errors import Busy, Failed
from wsctl.times import rfc3339

_VERSION = 1


@dataclass(frozen=True)
class Mark:
    """A position up to which all rows were exported."""

    epoch: str
    position: int


@dataclass(frozen=True)
class Unfinished:
    """A run with a complete file under a temporary name, about to rename it.

    If the temporary file is gone, it was renamed and the mark is valid; if it is still there, the
    run is discarded.
    """

    mark: Mark
    temporary: str
    out: str


@dataclass(frozen=True)
class State:
    """Content of the state file."""

    kind: str
    mark: Mark | None = None
    """None: nothing exported yet."""
    unfinished: Unfinished | None = None
    updated_at: str = ""
    """For people only."""


class StateFile:
    """A state file whose lock this process holds."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind

    @property
    def part_name(self) -> str:
        """The temporary file name of runs with this state, fixed so that none is left over."""
        key = hashlib.sha256(os.fsencode(self._path)).hexdigest()[:12]
        return f".wsctl-export-{key}.part"

    def settle(self) -> State:
        """The state, after an interrupted run was completed or discarded.

        Raises ``Failed`` for an invalid file or one of another export, without changes.
        """
        state = self._load()
        if state.unfinished is None:
            return state
        left = Path(state.unfinished.temporary)
        if not left.parent.is_dir():
            raise self._fault(
                f"records an interrupted export to {left.parent}, which does not exist: restore"
                " that folder, so that wsctl can see whether the file is complete"
            )
        if not os.path.lexists(left):
            return self.save(State(self._kind, state.unfinished.mark))
        # In this order: with the file removed first, a power failure would make the run count.
        state = self.save(replace(state, unfinished=None))
        with contextlib.suppress(OSError):
            left.unlink()
        return state

    def save(self, state: State) -> State:
        """Put the state on the disk; raises ``Failed`` with the old one in place."""
        state = replace(state, updated_at=rfc3339(time.time()))
        try:
            with replace_file(self._path, part_name=f".{self._path.name}.part") as file:
                file.write(json.dumps({"version": _VERSION, **asdict(state)}, indent=2) + "\n")
        except OSError as error:
            raise self._fault(f"cannot be written ({error.strerror})") from None
        return state

    def _load(self) -> State:
        try:
            text = self._path.read_text("utf-8-sig")
        except FileNotFoundError:
            return State(self._kind)
        except (OSError, UnicodeDecodeError) as error:
            raise self._fault(f"cannot be read ({error})") from None
        try:
            state = _read(json.loads(text))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._fault(
                "is not valid; nothing was exported. Restore a copy, or remove it and give --since"
            ) from None
        if state.kind != self._kind:
            raise self._fault(f"is of `export {state.kind}`: each export needs its own state file")
        return state

    def _fault(self, what: str) -> Failed:
        return Failed(f"the state file {self._path} {what}")


def _read(document: Any) -> State:
    """A state from its JSON; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything
    else."""
    if document["version"] != _VERSION or document["kind"] not in (
        "stats",
        "audit",
        "notifications",
        "usage",
    ):
        raise ValueError(document)
    unfinished = document["unfinished"]
    return State(
        document["kind"],
        None if document["mark"] is None else _mark(document["mark"]),
        None
        if unfinished is None
        else Unfinished(
            _mark(unfinished["mark"]), _text(unfinished["temporary"]), _text(unfinished["out"])
        ),
        _text(document["updated_at"]),
    )


def _mark(document: Any) -> Mark:
    position = document["position"]
    if not isinstance(position, int) or isinstance(position, bool) or position < 0:
        raise ValueError(position)
    return Mark(_text(document["epoch"]), position)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


@contextlib.contextmanager
def locked(path: Path, kind: str) -> Iterator[StateFile]:
    """The state file, with its lock held; raises ``Busy`` if another run holds it.

    The system releases the lock on ``FILE.lock`` when the process ends. The lock file stays: if
    it were removed, two runs could hold locks on different files of that name.
    """
    path = Path(os.path.realpath(path))
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Failed(f"cannot write {lock}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another export with the state file {path} is still running") from None
        yield StateFile(path, kind)
    finally:
        os.close(descriptor)
