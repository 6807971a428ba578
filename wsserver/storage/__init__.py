"""What must outlive the process: one SQLite file, one module a table."""

from __future__ import annotations

from wsserver.storage.audit import AuditEntry, AuditLog
from wsserver.storage.check import check_file
from wsserver.storage.database import Database
from wsserver.storage.faults import DatabaseFault
from wsserver.storage.idempotency import IdempotencyStore, StoredAnswer
from wsserver.storage.members import MemberChange, MemberStore
from wsserver.storage.paging import Page
from wsserver.storage.revocations import RevocationStore
from wsserver.storage.snapshots import Snapshots

__all__ = [
    "AuditEntry",
    "AuditLog",
    "Database",
    "DatabaseFault",
    "IdempotencyStore",
    "MemberChange",
    "MemberStore",
    "Page",
    "RevocationStore",
    "Snapshots",
    "StoredAnswer",
    "check_file",
]
