"""Atomic replacement of files: readers see the old content or all of the new one."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO


class Replacement:
    """A new UTF-8 file under a temporary name beside ``path``, to be renamed over it.

    A symbolic link is followed, so that the link stays. A device or a named pipe (``/dev/stdout``)
    cannot be replaced and is written directly. All methods raise ``OSError`` and leave ``path``
    unchanged. ``part_name``: fixed name of the temporary file; None: a unique one.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int | None = None,
        part_name: str | None = None,
        compress: bool = False,
    ) -> None:
        self.path = path = Path(os.path.realpath(path))
        if path.is_dir():
            raise IsADirectoryError(21, os.strerror(21), str(path))
        self.temporary: Path | None = None
        """Where the new file is until it is published; None: it is written in place."""
        if path.exists() and not path.is_file():
            self._raw: BinaryIO = path.open("wb")
        else:
            self._raw = self._open_beside(part_name)
        self._mode = _mode_of(path) if mode is None else mode
        layer: BinaryIO = self._raw
        if compress:  # without name and time in it: the same rows make the same bytes
            layer = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0)  # type: ignore[assignment]
        self._layer = layer
        self.file = io.TextIOWrapper(layer, encoding="utf-8", errors="backslashreplace", newline="")

    def _open_beside(self, part_name: str | None) -> BinaryIO:
        folder = self.path.parent
        if part_name is None:
            prefix = f".{self.path.name}."
            descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=folder)
            self.temporary = Path(name)
        else:
            self.temporary = folder / part_name
            with contextlib.suppress(FileNotFoundError):
                self.temporary.unlink()
            # Created, never opened: another user may have put a link there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self.temporary, flags, 0o600)
        return open(descriptor, "wb")

    def seal(self) -> None:
        """Flush everything to the disk, still under the temporary name."""
        self.file.flush()
        self.file.detach()
        if self._layer is not self._raw:
            self._layer.close()
        self._raw.flush()
        if self.temporary is not None:
            os.fchmod(self._raw.fileno(), self._mode)
            os.fsync(self._raw.fileno())
            _sync_folder(self.path.parent)
        self._raw.close()

    def publish(self) -> None:
        """Rename the sealed file to its final name."""
        if self.temporary is not None:
            os.replace(self.temporary, self.path)
            _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove the temporary file; raises nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._raw.close()
        if self.temporary is not None:
            with contextlib.suppress(OSError):
                self.temporary.unlink()


@contextlib.contextmanager
def replace_file(
    path: Path, *, mode: int | None = None, part_name: str | None = None
) -> Iterator[TextIO]:
    """Write a UTF-8 file beside ``path`` and rename it over ``path`` once it is on the disk.

    ``mode``: permissions of the new file; None: those of the old one, or what the umask gives.
    A symbolic link is followed, so that the link stays. ``part_name``: as ``Replacement`` has it.
    Raises ``OSError`` and leaves the old file.
    """
    new = Replacement(path, mode=mode, part_name=part_name)
    try:
        yield new.file
        new.seal()
        new.publish()
    except BaseException:
        new.discard()
        raise


def _mode_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    """Flush the directory entry to the disk; ignored where a file system cannot."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
