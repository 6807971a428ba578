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


def upload_folder_id(settings: Settings) -> str:
    """The id in the folder, which the first process writes; one like no other if it cannot."""
    folder = settings.data_dir / EXTENSION
    made = secrets.token_hex(8)
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _write_once(folder / MARKER, made)
        return (folder / MARKER).read_text("ascii")
    return made


def _write_once(file: Path, text: str) -> None:
    """Write a file unless it exists; whoever reads it finds it whole."""
    if file.exists():
        return
    draft = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
    try:
        draft.write_text(text, "ascii")
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
