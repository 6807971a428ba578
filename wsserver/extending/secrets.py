"""Secrets in options of extensions: values, or files that have them, and a repr without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from wsserver.config import TableFault
from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file
from wsserver.config.masking import MASK
from wsserver.config.tables import is_secret


class SecretOptions(Struct, frozen=True):
    """Base class of options with secrets: their repr, which ends up in logs, masks them."""

    def __repr__(self) -> str:
        """The fields, with a mask in place of values whose names are those of secrets."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        shown = ", ".join(
            f"{name}={MASK if is_secret(name) and value else repr(value)}"
            for name, value in values.items()
        )
        return f"{type(self).__name__}({shown})"


def secret_faults(
    path: str, options: Struct, name: str, *, shortest: int = 1
) -> Iterator[TableFault]:
    """Faults of a secret in the table at ``path``; ``shortest``: characters it needs at least.

    The options have it in the field ``name``, or the file's name in ``{name}_file``.
    """
    value, file = getattr(options, name), getattr(options, f"{name}_file")
    if value is not None and file is not None:
        yield TableFault(f"{path}.{name}", f"and {name}_file exclude each other; remove one")
        return
    if value is None and file is None:
        yield TableFault(f"{path}.{name}", f"or {name}_file is missing")
        return
    where = f"{path}.{name}" if file is None else f"{path}.{name}_file"
    try:
        secret = secret_of(options, name)
    except Faulty as faulty:
        yield from (TableFault(where, message) for message in faulty.messages)
        return
    if not secret or not secret.isascii() or not secret.isprintable():
        yield TableFault(where, "has to be printable ASCII on one line")
    elif len(secret) < shortest:
        yield TableFault(where, f"is too short: at least {shortest} characters")


def secret_of(options: Struct, name: str) -> str:
    """A secret, from its file without white space around it. Raises ``Faulty``."""
    value: str | None = getattr(options, name)
    if value is not None:
        return value
    content = read_key_file(Path(getattr(options, f"{name}_file")))
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise Faulty("names a file that is not UTF-8 text") from None
