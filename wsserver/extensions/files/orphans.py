"""Stored files without a row in the database, for ``wsserver db check``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from itertools import islice

from wsserver.config import Settings
from wsserver.config.file_store import file_store_place
from wsserver.extending import Query
from wsserver.extensions.files.blobs import StoredBlob
from wsserver.extensions.files.folder import blobs_in

FOLDER = "files"
"""In ``data_dir``."""
ORPHAN_AGE_S = 86_400.0
"""A row is stored before its blob: what is older than this will never get one."""
SHOWN = 20
_BATCH_ROWS = 500


def check_stored(settings: Settings, query: Query) -> Iterator[str]:
    """What is stored without a row and can be removed, in one sentence that names the first."""
    orphans: list[str] = []
    try:
        for some in _listed(settings):
            orphans += _absent(some, query)
    except Exception as error:  # noqa: BLE001 - of the disk, or of whatever the object storage is
        yield f"stored files cannot be listed: {type(error).__name__}"
        return
    if orphans:
        names = sorted(set(orphans))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield (
            f"{len(names)} stored files have no row, and a running server removes them:"
            f" {', '.join(names[:SHOWN])}{more}"
        )


def _listed(settings: Settings) -> Iterator[list[StoredBlob]]:
    if settings.file_store_url is None:
        return blobs_in(settings.data_dir / FOLDER)
    bucket = import_module("wsserver.extensions.files.s3").Bucket(
        file_store_place(settings.file_store_url)
    )
    bucket.open()
    found: Iterator[list[StoredBlob]] = bucket.listed()
    return found


def _absent(stored: list[StoredBlob], query: Query) -> Iterator[str]:
    before = time.time() - ORPHAN_AGE_S
    old = iter(sorted({each.blob_id for each in stored if each.changed_at < before}))
    while batch := list(islice(old, _BATCH_ROWS)):
        places = ", ".join("?" * len(batch))
        rows = query(f"SELECT file_id FROM files WHERE file_id IN ({places})", batch)  # noqa: S608
        known = {file_id for (file_id,) in rows}
        yield from (each for each in batch if each not in known)
