"""Files that are either the old one or the whole new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replace_file(path: Path, *, mode: int | None = None) -> Iterator[TextIO]:
    """Write a UTF-8 file beside ``path`` and rename it over ``path`` once it is on the disk.

    ``mode``: permissions of the new file; None: those of the old one, or what the umask gives.
    A symbolic link is followed, so that the link stays. Raises ``OSError`` with nothing changed.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(21, os.strerror(21), str(path))
    if path.exists() and not path.is_file():
        # A device or a named pipe (/dev/stdout) cannot be renamed over.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as device:
            yield device
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), _mode_of(path) if mode is None else mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _mode_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on the disk; some file systems cannot, which is no failure."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
