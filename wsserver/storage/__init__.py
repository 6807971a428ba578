"""What must outlive the process: one SQLite file, one module a table."""

from __future__ import annotations

from wsserver.storage.audit import AuditEntry, AuditLog
from wsserver.storage.check import check_file
from wsserver.storage.database import Database
from wsserver.storage.epochs import fork_epochs
from wsserver.storage.faults import DatabaseFault
from wsserver.storage.idempotency import IdempotencyStore, StoredAnswer
from wsserver.storage.members import MemberChange, MemberStore
from wsserver.storage.paging import Page
from wsserver.storage.receipts import Change, Inbox, Receipt, ReceiptStore
from wsserver.storage.revocations import RevocationStore
from wsserver.storage.snapshots import Snapshots
from wsserver.storage.streams import (
    Append,
    Appended,
    Counts,
    Expired,
    Found,
    Head,
    Kept,
    Pruned,
    StreamStore,
)

__all__ = [
    "Append",
    "Appended",
    "AuditEntry",
    "AuditLog",
    "Change",
    "Counts",
    "Database",
    "DatabaseFault",
    "Expired",
    "Found",
    "Head",
    "IdempotencyStore",
    "Inbox",
    "Kept",
    "MemberChange",
    "MemberStore",
    "Page",
    "Pruned",
    "Receipt",
    "ReceiptStore",
    "RevocationStore",
    "Snapshots",
    "StoredAnswer",
    "StreamStore",
    "check_file",
    "fork_epochs",
]
