"""The id of the folder of uploaded files, which is the same on all nodes that share it."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from wsserver.config.settings import Settings

EXTENSION = "files"
"""The built-in extension, and its folder in ``data_dir``."""
MARKER = ".folder-id"
NAME = f"data_dir/{EXTENSION}"
"""Where it is, for people."""


def has_upload_folder(settings: Settings) -> bool:
    """Whether uploaded files are in a folder, and not in object storage or nowhere."""
    return settings.file_store_url is None and EXTENSION not in settings.disabled_extensions


def upload_folder_id(settings: Settings) -> bytes:
    """The id in the folder, which the first process writes; one like no other if it cannot."""
    folder = settings.data_dir / EXTENSION
    made = secrets.token_hex(8).encode()
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _write_once(folder / MARKER, made)
        return (folder / MARKER).read_bytes()
    return made


def _write_once(file: Path, content: bytes) -> None:
    """Write a file unless it exists; whoever reads it finds it whole, if it can be linked to."""
    if file.exists():
        return
    draft = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
    try:
        draft.write_bytes(content)
        with suppress(FileExistsError):
            _link(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, file: Path) -> None:
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # folders shared over SMB or FUSE often have no hard links
        with file.open("xb") as made:
            made.write(draft.read_bytes())
