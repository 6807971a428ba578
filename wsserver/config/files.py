"""Files and folders named in settings: reading, checking, creating."""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
from pathlib import Path

from wsserver.config.faults import ConfigFaults, Fault, Faulty
from wsserver.config.settings import Settings


def without_mark(content: bytes) -> bytes:
    """Remove the UTF-8 byte order mark, which editors on Windows write. ``Faulty`` for UTF-16."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Faulty("is UTF-16 text (by its byte order mark); save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


DEV_SECRET = "dev-jwt-secret"  # noqa: S105 - a file's name
MAX_KEY_FILE_BYTES = 1_048_576


def read_key_file(path: Path) -> bytes:
    """Return the file's bytes without a byte order mark. Raises ``Faulty``, without the path.

    The path may be the secret itself, put there by mistake.
    """
    try:
        if not path.is_file():
            raise Faulty(
                "is a file that does not exist" if not path.exists() else "is not a regular file"
            )
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise Faulty(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_KEY_FILE_BYTES:
        raise Faulty("names a file too large for a key")
    try:
        return without_mark(content)
    except Faulty as faulty:
        raise Faulty(*(f"names a file that {message}" for message in faulty.messages)) from None


def read_password(path: Path) -> str:
    """Return the password in a file: its text without the end of the line. ``Faulty``, as above."""
    try:
        return read_key_file(path).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Faulty("names a file that is not UTF-8 text") from None


def dev_secret(settings: Settings) -> Path:
    """Return the file of the secret that development mode makes."""
    return settings.data_dir / DEV_SECRET


def secret_bytes(settings: Settings) -> bytes | None:
    """Return the signing secret of ``jwt_secret`` or ``jwt_secret_file``; None without either.

    White space around the secret in a file is ignored. Raises ``Faulty`` (a ValueError).
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret.encode("utf-8", "surrogateescape")
    if settings.jwt_secret_file is not None:
        return read_key_file(settings.jwt_secret_file).strip()
    return None


def check_folder(path: Path) -> None:
    """Raise ``Faulty`` unless the folder exists or could be made, and can be written to."""
    try:
        nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
        if not nearest.is_dir():
            raise Faulty(f"cannot be a folder: {nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise Faulty(f"cannot be written to: no permission in {nearest}")
    except OSError as error:
        raise Faulty(f"cannot be a folder: {error.strerror}") from None


def check_database(database: Path, data_dir: Path) -> None:
    """Raise ``Faulty`` for a path where no database file can be. Its content is not read."""
    try:
        if database.is_dir():
            raise Faulty(f"is a folder: {database}")
        if database.exists() and not database.is_file():
            raise Faulty(f"is not a regular file: {database}")
        folder = database.parent
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise Faulty(f"cannot be written to: no permission in {folder}")
        elif not folder.absolute().is_relative_to(data_dir.absolute()):
            raise Faulty(f"is in a folder that does not exist: {folder}")
    except OSError as error:
        raise Faulty(f"cannot be a file: {error.strerror}") from None


def make_folders(settings: Settings) -> None:
    """Make ``data_dir`` and, within it, the database's folder. Raises ``ConfigFaults``."""
    folders = {"data_dir": settings.data_dir}
    if settings.database_url is None:
        folders["database"] = settings.database.parent
    for key, folder in folders.items():
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            fault = Fault(key, "start", f"cannot make folder {folder}: {error.strerror}")
            raise ConfigFaults([fault]) from None


def make_dev_secret(path: Path) -> None:
    """Write a new secret for development, readable by its owner alone; an existing one stays.

    Created atomically, also when two servers start at the same time. Raises ``ConfigFaults``.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            path.chmod(0o600)
            return
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    except OSError as error:
        fault = Fault("jwt_secret_file", "dev", f"cannot be made: {error.strerror}")
        raise ConfigFaults([fault]) from None
