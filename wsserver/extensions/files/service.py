"""``Files``: lists and deletes files, and what is to be done about them from time to time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from wsserver.clock import Clock
from wsserver.errors import NotFound
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.files.blobs import Blobs
from wsserver.extensions.files.downloads import MANAGE, Downloads
from wsserver.extensions.files.model import File
from wsserver.extensions.files.orphans import ORPHAN_AGE_S
from wsserver.extensions.files.table import FileTable, Filters
from wsserver.extensions.files.uploads import Uploads
from wsserver.extensions.files.views import FilesQuery
from wsserver.realtime.access.actor import Actor

log = logging.getLogger(__name__)

DELETE = "delete_file"
SWEEP_LIMIT = 1000
"""Of one sweep: a mistake, as another database with the same storage, is noticed before it is all
gone."""


class Files:
    """Files for the REST API."""

    def __init__(
        self,
        context: ExtensionContext[object],
        table: FileTable,
        uploads: Uploads,
        downloads: Downloads,
        blobs: Blobs,
    ) -> None:
        self._access = context.access
        self._clock: Clock = context.clock
        self._table = table
        self._blobs = blobs
        self.orphans_removed = 0
        self.uploads = uploads
        self.downloads = downloads

    async def listing(self, actor: Actor, query: FilesQuery) -> dict[str, Any]:
        """Files of the requester's scope that match all filters, newest first."""
        scope = self._access.scope(actor, MANAGE)
        if query.organization_id is not None:
            scope.require_organization(query.organization_id)
        if query.user_id is not None:
            await scope.require_users([query.user_id])
        if query.session_id is not None:
            await scope.require_session(query.session_id)
        filters = Filters(
            query.user_id, query.session_id, scope.organization_id or query.organization_id
        )
        page = await self._table.page(filters, query.limit, query.cursor)
        return {
            "files": [file.view() for file in page.items],
            "total": page.total,
            "next_cursor": page.next_cursor,
        }

    async def delete(self, actor: Actor, file_id: str) -> None:
        """Delete a file or an upload of the requester, or of their scope; raises ``NotFound``."""
        file = await self._table.get(file_id)
        if file is None:
            raise NotFound("file", file_id)
        if file.user_id != actor.claims.sub:
            if not self._access.allows(actor.claims, MANAGE):
                raise NotFound("file", file_id)
            scope = self._access.scope(actor, MANAGE)
            if scope.organization_id not in (None, file.organization_id):
                raise NotFound("file", file_id)
            self._access.audit.record(actor, DELETE, f"file:{file_id}", user_id=file.user_id)
        await self.uploads.remove(file)

    async def expire(self) -> None:
        """Delete the files and uploads whose time is over."""
        removed = 0
        while expired := await self._table.expired(self._clock.wall()):
            for file in expired:
                await self.uploads.remove(file)
            removed += len(expired)
        if removed:
            log.info("files expired count=%d", removed)

    async def sweep(self) -> None:
        """Remove what is stored without a row, such as after a crash between the two.

        A row is stored before its blob, so what is older than ``ORPHAN_AGE_S`` will never get one.
        """
        before = self._clock.wall() - ORPHAN_AGE_S
        removed = 0
        async for some in self._blobs.listed():
            old = sorted({each.blob_id for each in some if each.changed_at < before})
            orphans = await self._table.absent(old) if old else []
            for blob_id in orphans[: SWEEP_LIMIT - removed]:
                await self._blobs.remove(blob_id)
                removed += 1
                self.orphans_removed += 1
                log.warning("file without a row removed file_id=%s", blob_id)
            if removed >= SWEEP_LIMIT:
                return

    def figures(self) -> dict[str, int]:
        """Figures of this node."""
        return {"orphans_removed": self.orphans_removed}

    async def erase(self, user_id: str) -> dict[str, int]:
        """Delete the files that a user has uploaded."""
        erased = 0
        async for files in self._of_user(user_id):
            for file in files:
                await self.uploads.remove(file)
            erased += len(files)
        return {"files": erased}

    async def _of_user(self, user_id: str) -> AsyncIterator[list[File]]:
        last = ""
        while files := await self._table.of_user(user_id, last):
            yield files
            last = files[-1].file_id
