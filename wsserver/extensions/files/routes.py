"""REST endpoints of files: uploads by tus 1.0.0, downloads, lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wsserver.extending.extension import ExtensionResource
from wsserver.extensions.files import tus
from wsserver.extensions.files.downloads import MANAGE
from wsserver.extensions.files.service import DELETE, Files
from wsserver.extensions.files.views import (
    DownloadQuery,
    FileAddress,
    FileCreated,
    FileList,
    FilesQuery,
)
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, BodyReceiver, Call
from wsserver.web.http.replies import Reply

RESOURCE = ExtensionResource(
    "files", "Files", "Resumable uploads by tus 1.0.0, downloads, and files in messages."
)

_VERSION: Final = {"Tus-Resumable": "1.0.0"}
_OFFSET: Final = {"Upload-Offset": "where the part begins: the end of what is stored"}
_LENGTH: Final = {"Upload-Length": "bytes of the whole file"}
_TUS: Final[Mapping[str, Any]] = {"answer_headers": tus.ANSWER_HEADERS, "is_overridable": True}
_STORAGE: Final = ("storage_unavailable", "storage_full")


def _options(context: WebContext) -> dict[str, str]:
    """What the server says about uploads, in its answer to OPTIONS."""
    return {
        **tus.ANSWER_HEADERS,
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Checksum-Algorithm": "sha256",
        "Tus-Max-Size": str(context.settings.max_file_bytes),
    }


@RESOURCE.endpoint(
    "POST /files",
    SIGNED_IN,
    FileCreated,
    **_TUS,
    receives=tus.PART_TYPE,
    option_headers=_options,
    request_headers={**_VERSION, **_LENGTH},
    statuses={201: "Created; `Location` is the address of the upload"},
    answer_example={"file_id": "file_01hk153x00h9v3t7n2c4d5e6"},
    errors=(
        *("tus_version_unsupported", "unsupported_media_type", "forbidden", "file_too_large"),
        *("file_quota_exhausted", "file_upload_limit", "file_uploads_busy", "checksum_mismatch"),
        *("draining", "storage_unavailable"),
    ),
)
async def _create(files: Files, call: Call) -> BodyReceiver:
    """Begin an upload (tus: creation, creation-with-upload)."""
    return await files.uploads.create(call.caller, call.headers)


@RESOURCE.endpoint("GET /files", MANAGE, FileList, query=FilesQuery)
async def _list(files: Files, call: Call) -> dict[str, Any]:
    """List files and unfinished uploads, newest first."""
    return await files.listing(call.caller, call.query)


@RESOURCE.endpoint(
    "PATCH /files/{file_id}",
    SIGNED_IN,
    "application/octet-stream",
    **_TUS,
    receives=tus.PART_TYPE,
    option_headers=_options,
    request_headers={**_VERSION, **_OFFSET},
    statuses={204: "Stored; `Upload-Offset` is the end of what is stored"},
    errors=(
        *("tus_version_unsupported", "unsupported_media_type", "not_found", "offset_mismatch"),
        *("file_too_large", "file_locked", "file_upload_limit", "file_uploads_busy"),
        *("checksum_mismatch", "draining", *_STORAGE),
    ),
)
async def _patch(files: Files, call: Call) -> BodyReceiver:
    """Continue an upload with a part of it (tus)."""
    return await files.uploads.patch(call.caller, call.path["file_id"], call.headers)


@RESOURCE.endpoint(
    "HEAD /files/{file_id}",
    SIGNED_IN,
    "application/octet-stream",
    **_TUS,
    is_streamed=True,
    is_token_optional=True,
    query=DownloadQuery,
    statuses={200: "With `Tus-Resumable`: `Upload-Offset` is the end of what is stored"},
    errors=("not_found", "forbidden", "range_not_satisfiable", "storage_unavailable"),
)
async def _head(files: Files, call: Call) -> Reply:
    """Ask how far an upload is (tus), or how large a file is."""
    if call.actor is not None and "Tus-Resumable" in call.headers:
        return await files.uploads.head(call.actor, call.path["file_id"], call.headers)
    return await files.downloads.get(call.actor, call.path["file_id"], call.query, call.headers)


@RESOURCE.endpoint(
    "GET /files/{file_id}",
    SIGNED_IN,
    "application/octet-stream",
    is_streamed=True,
    is_token_optional=True,
    query=DownloadQuery,
    statuses={200: "The file", 206: "The part that `Range` asks for", 304: "Not changed"},
    errors=("not_found", "forbidden", "range_not_satisfiable", "storage_unavailable"),
)
async def _get(files: Files, call: Call) -> Reply:
    """Download a file, or a part of it, with a token or by a signed address."""
    return await files.downloads.get(call.actor, call.path["file_id"], call.query, call.headers)


@RESOURCE.endpoint(
    "DELETE /files/{file_id}",
    SIGNED_IN,
    "application/octet-stream",
    **_TUS,
    is_streamed=True,
    action=DELETE,
    statuses={204: "Deleted"},
    errors=("not_found", *_STORAGE),
)
async def _delete(files: Files, call: Call) -> Reply:
    """Delete a file, or an unfinished upload (tus: termination)."""
    await files.delete(call.caller, call.path["file_id"])
    return Reply(b"", status=204)


@RESOURCE.endpoint(
    "GET /files/{file_id}/url",
    SIGNED_IN,
    FileAddress,
    answer_example={
        "url": "/api/v1/websocket/files/file_01hk153x00h9v3t7n2c4d5e6"
        "?expires=1894458600&signature=5r3Wq0yb0mXqzv0Ql1V0c5m9o2k7f3d1s8a6h4g2j0k",
        "expires_at": "2030-01-12T14:30:00.000Z",
    },
    errors=("not_found", "storage_unavailable"),
)
async def _address(files: Files, call: Call) -> dict[str, Any]:
    """Make a signed address of a file, which needs no token for ten minutes."""
    return await files.downloads.address(call.caller, call.path["file_id"])
