"""``Addresses``: signed URLs of files, which are valid for a while without a token."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.extensions.files.table import FileTable
from wsserver.web.api.endpoint import PREFIX

VALID_S = 600
"""How long a signed address can be used."""


class Address(NamedTuple):
    """A signed address: its path with the query, and until when it is valid."""

    url: str
    expires_at: int
    """Seconds since the epoch."""


class Addresses:
    """Signs addresses by HMAC-SHA256 with a key in the database, which all nodes share."""

    def __init__(self, table: FileTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._key = b""

    async def open(self) -> None:
        """Read the key, or make it. Raises ``StorageUnavailable``, ``StorageFull``."""
        self._key = await self._table.key()

    def sign(self, file_id: str) -> Address:
        """An address of a file that is valid from now on."""
        expires_at = int(self._clock.wall()) + VALID_S
        signature = self._signature(file_id, expires_at)
        url = f"{PREFIX}/files/{file_id}?expires={expires_at}&signature={signature}"
        return Address(url, expires_at)

    def is_valid(self, file_id: str, expires_at: int, signature: str) -> bool:
        """Whether an address was signed here, and its time is not over."""
        wanted = self._signature(file_id, expires_at)
        is_signed = hmac.compare_digest(wanted.encode(), signature.encode())
        return is_signed and self._clock.wall() < expires_at

    def _signature(self, file_id: str, expires_at: int) -> str:
        if not self._key:
            raise RuntimeError("addresses are signed once the server has started")
        digest = hmac.digest(self._key, f"{file_id}\n{expires_at}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
