"""Temporary folders on the disk of the final file; those of killed processes are removed."""

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
"""Errors of file systems without locks (some network ones)."""


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a folder (0700) in ``parent``, on the same file system; it is removed at the end.

    Its file ``lock`` is locked while the process lives, which distinguishes it from one that a
    killed process left behind (see ``remove_abandoned``). Raises ``OSError``.
    """
    fd, folder = None, parent
    while fd is None:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            fd = _open_locked(folder, os.O_CREAT)
        except FileNotFoundError:
            continue  # removed as abandoned before it was locked
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def remove_abandoned(parent: Path) -> None:
    """Remove this user's temporary folders in ``parent`` whose processes have ended.

    Never raises: a folder that cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{PREFIX}*"):
            if not folder.is_symlink() and folder.stat().st_uid == os.geteuid():
                _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        fd = _open_locked(folder, 0)
    except FileNotFoundError:  # its process was killed before locking it
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    if fd is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def _open_locked(folder: Path, flags: int) -> int | None:
    """Open and lock the lock file of a folder; None: another process has locked it.

    Raises ``FileNotFoundError`` if the lock file is missing or was removed meanwhile, ``OSError``
    if it cannot be created or locked.
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
            return fd  # nor can ``remove_abandoned`` lock it there
        os.close(fd)
        raise
