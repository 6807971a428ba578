"""The extension ``files``: everything that it adds to the server."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from wsserver.config import Settings
from wsserver.config.file_store import file_store_place
from wsserver.extending import Extension, ExtensionContext, Job, Part
from wsserver.extensions.files import errors
from wsserver.extensions.files.addresses import Addresses
from wsserver.extensions.files.blobs import Blobs
from wsserver.extensions.files.downloads import MANAGE, Downloads
from wsserver.extensions.files.folder import FolderBlobs
from wsserver.extensions.files.messages import FileMessages, note_deletion
from wsserver.extensions.files.orphans import FOLDER, check_stored
from wsserver.extensions.files.routes import RESOURCE
from wsserver.extensions.files.service import Files
from wsserver.extensions.files.table import MIGRATIONS, USER_TABLES, FileTable
from wsserver.extensions.files.uploads import FILE_UPLOADED, Uploads

EXPIRE_INTERVAL_S = 600.0
SWEEP_INTERVAL_S = 6 * 3600.0


def build(context: ExtensionContext[Any]) -> Part:
    """Connect the parts of the extension."""
    settings, clock = context.settings, context.clock
    table = FileTable(context.database)
    blobs = _blobs_of(settings)
    addresses = Addresses(table, clock)
    uploads = Uploads(context, table, blobs)
    downloads = Downloads(context, table, blobs, addresses)
    files = Files(context, table, uploads, downloads, blobs)
    context.statistics.add_source("files", files.figures)

    async def start() -> None:
        await blobs.open()
        await addresses.open()

    async def stop() -> None:
        await uploads.close()
        await blobs.close()

    return Part(
        service=files,
        jobs=(
            Job(name="expire", period_s=EXPIRE_INTERVAL_S, work=files.expire),
            Job(name="sweep", period_s=SWEEP_INTERVAL_S, work=files.sweep),
        ),
        message_checks=(FileMessages(table, addresses, clock),),
        erase_user=files.erase,
        start=start,
        stop=stop,
    )


def _blobs_of(settings: Settings) -> Blobs:
    """Where the bytes are; the packages of object storage are imported only for it."""
    folder = settings.data_dir / FOLDER
    if settings.file_store_url is None:
        return FolderBlobs(folder, is_durable=settings.synchronous == "full")
    s3 = import_module("wsserver.extensions.files.s3")
    blobs: Blobs = s3.S3Blobs(file_store_place(settings.file_store_url), folder / "spool")
    return blobs


FILES: Final = Extension(
    name="files",
    build=build,
    migrations=MIGRATIONS,
    user_tables=USER_TABLES,
    note_deletion=note_deletion,
    check_stored=check_stored,
    permissions={MANAGE: ("admin", "service", "manager")},
    errors=(
        errors.FileTooLarge,
        errors.FileQuotaExhausted,
        errors.FileUploadLimit,
        errors.FileUploadsBusy,
        errors.FileLocked,
        errors.OffsetMismatch,
        errors.ChecksumMismatch,
        errors.TusVersionUnsupported,
        errors.RangeNotSatisfiable,
    ),
    resources=(RESOURCE,),
    events=(FILE_UPLOADED,),
)
