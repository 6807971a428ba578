"""Identity of a database: servers that are to share one compare theirs.

``DATABASE/PLACE``: a random id that is kept in the table ``meta``, and a digest of where the
database is. The id is made with the database and goes on when it is moved (``wsserver db copy``) or
restored from a backup; the place differs in each copy. So the whole is equal for servers that use
one database at the same time, while the id alone may be remembered elsewhere for longer.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from pathlib import Path

IDENTITY_KEY = "identity"
"""In ``meta``."""
_MACHINE_FILES = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
"""The second where the first is missing or empty, as in many containers."""


def new_identity() -> str:
    """A new unique id: ``database_`` and 32 hexadecimal digits."""
    return f"database_{secrets.token_hex(16)}"


def identity_of(database: str, *place: object) -> str:
    """The identity of a database with this id at this place."""
    digest = hashlib.sha256("\0".join(map(str, place)).encode()).hexdigest()
    return f"{database}/{digest[:16]}"


def file_place(path: Path) -> tuple[object, ...]:
    """The place of a file: machine, device and inode. Raises ``OSError`` if it is missing."""
    found = os.stat(path)
    return machine_id(), found.st_dev, found.st_ino


def machine_id() -> str:
    """What identifies this machine."""
    for file in _MACHINE_FILES:
        try:
            if text := file.read_text(encoding="ascii").strip():
                return text
        except (OSError, UnicodeDecodeError):
            continue
    return socket.gethostname()
