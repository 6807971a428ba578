"""Scratch folders beside the files that are made in them; those of killed processes are removed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".wsserver-scratch."
_LOCK = "lock"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""Of file systems (some network ones) that have no locks."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder (0700) in ``parent``, on the same file system, and remove it at the end.

    Its file ``lock`` is locked while the process lives, so that ``remove_abandoned`` can tell it
    from one that a killed process left behind. Raises ``OSError``.
    """
    fd, folder = None, parent
    while fd is None:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            fd = _open_locked(folder, os.O_CREAT)
        except FileNotFoundError:
            continue  # taken for an abandoned one before it was locked
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders of this user in ``parent`` whose processes have ended.

    Never raises: what cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{PREFIX}*"):
            if not folder.is_symlink() and folder.stat().st_uid == os.geteuid():
                _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        fd = _open_locked(folder, 0)
    except FileNotFoundError:  # killed before it was locked
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    if fd is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def _open_locked(folder: Path, flags: int) -> int | None:
    """A descriptor that locks a folder; None: another process has locked it.

    Raises ``FileNotFoundError`` where there is no lock file (any more), ``OSError`` where none can
    be made or locked.
    """
    path = folder / _LOCK
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
        raise FileNotFoundError(path)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as error:
        if flags & os.O_CREAT and error.errno in _NO_LOCKS:
            return fd  # such a folder is never taken for an abandoned one either
        os.close(fd)
        raise
