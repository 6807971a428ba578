"""``FileMessages``: messages whose content is a file, by ``send_message``."""

from __future__ import annotations

from typing import Any

import msgspec

from wsserver.clock import Clock
from wsserver.errors import BadRequest, NotFound
from wsserver.extensions.files.addresses import Addresses
from wsserver.extensions.files.model import File
from wsserver.extensions.files.table import FileTable, end_sent
from wsserver.identity.ids import is_id
from wsserver.protocol.revisions import message_in
from wsserver.protocol.types import FILE_TYPE, Content
from wsserver.realtime.commands.message_check import Unchecked
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.message_rows import Found


class FileMessages:
    """Implements ``MessageCheck``: replaces ``{"file_id"}`` by what is known of the file.

    The file has to be complete, and of the session; one without a session becomes that of the
    session that its user sends it to.
    """

    def __init__(self, table: FileTable, addresses: Addresses, clock: Clock) -> None:
        self._table = table
        self._addresses = addresses
        self._clock = clock

    def concerns(self, content_type: str | None) -> bool:
        """Messages that are files."""
        return content_type == FILE_TYPE

    async def check(self, message: Unchecked) -> Content:
        """The content for everybody in the session. Raises ``BadRequest``, ``NotFound``."""
        file_id = _file_id(message.content)
        file = await self._table.get(file_id)
        if file is None or not file.is_complete or file.expires_at <= self._clock.wall():
            raise NotFound("file", file_id)
        if file.session_id != message.session_id:
            is_own = file.session_id is None and file.user_id == message.sender.sub
            if not is_own or not await self._table.bind(file_id, file.user_id, message.session_id):
                raise NotFound("file", file_id)
        return content_of(file, self._addresses)


def content_of(file: File, addresses: Addresses) -> dict[str, Any]:
    """The content of a message that is a file."""
    return {
        "file_id": file.file_id,
        "filename": file.filename,
        "content_type": file.content_type,
        "bytes": file.length,
        "sha256": file.sha256,
        "url": addresses.sign(file.file_id).url,
    }


class _Sent(msgspec.Struct):
    """What of a message tells whether it is a file."""

    content_type: str | None = None
    content: Any = None


def note_deletion(db: Connection, found: Found) -> None:
    """Let the time of a file be over whose message is deleted, if its user has sent that."""
    sent = msgspec.json.decode(message_in(found.payload), type=_Sent)
    if sent.content_type == FILE_TYPE and isinstance(sent.content, dict):
        end_sent(db, str(sent.content.get("file_id")), found.sender, found.stream)


def _file_id(content: Content) -> str:
    if not isinstance(content, dict):
        raise BadRequest("the content of a file is an object with file_id", field="content")
    file_id = content.get("file_id")
    if not isinstance(file_id, str) or not is_id(file_id):
        raise BadRequest("content.file_id has to be the id of a file", field="content.file_id")
    unknown = content.keys() - {"file_id"}
    if unknown:
        field = f"content.{min(unknown)}"
        raise BadRequest(f"{field} is unknown: the server fills in the rest", field=field)
    return file_id
