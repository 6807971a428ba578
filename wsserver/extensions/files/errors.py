"""Errors of files."""

from __future__ import annotations

from wsserver.errors import Meaning, WsServerError


class FileTooLarge(WsServerError, meaning=Meaning(413, None, False, "File too large")):
    """More bytes than a file may have, or than its upload has announced."""


class FileQuotaExhausted(WsServerError, meaning=Meaning(413, None, False, "No room for the file")):
    """The files of an organization would be larger than its quota."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(
            f"the organization's files have {used} of {limit} bytes",
            used_bytes=used,
            limit_bytes=limit,
        )


class FileUploadLimit(
    WsServerError, meaning=Meaning(429, None, True, "Too many unfinished uploads")
):
    """A user with as many unfinished uploads, or parts at a time, as there may be."""


class FileUploadsBusy(WsServerError, meaning=Meaning(503, None, True, "Too many uploads now")):
    """As many uploads are being received as this process takes at a time."""


class FileLocked(WsServerError, meaning=Meaning(423, None, True, "Upload in use")):
    """An upload that another request is writing to, or has taken over."""


class OffsetMismatch(WsServerError, meaning=Meaning(409, None, True, "Upload at another offset")):
    """A part for another offset than that of the upload, which is ``offset``."""

    def __init__(self, given: int, offset: int) -> None:
        super().__init__(f"Upload-Offset {given}, but the upload is at {offset}", offset=offset)


class ChecksumMismatch(WsServerError, meaning=Meaning(460, None, True, "Checksum mismatch")):
    """A part with another checksum than the one announced; nothing of it was stored."""


class TusVersionUnsupported(
    WsServerError, meaning=Meaning(412, None, False, "Version of tus not supported")
):
    """A request for uploads without ``Tus-Resumable: 1.0.0``."""


class RangeNotSatisfiable(WsServerError, meaning=Meaning(416, None, False, "Range not available")):
    """A range beyond the end of the file, or several ranges."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message, size=size)
