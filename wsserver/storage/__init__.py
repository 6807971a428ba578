"""Persistent data: in a SQLite file or in PostgreSQL; one module for each table."""

from __future__ import annotations

from wsserver.paging import Page
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.epochs import fork_epochs
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.messages.receipts import Change, Inbox, Receipt, ReceiptStore
from wsserver.storage.messages.streams import (
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
from wsserver.storage.tables.access_lists import MemberChange, MemberStore, RevocationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.idempotency import IdempotencyStore, StoredAnswer
from wsserver.storage.tables.snapshots import Snapshots

__all__ = [
    "Append",
    "Appended",
    "AuditEntry",
    "AuditLog",
    "Change",
    "Counts",
    "Database",
    "DatabaseUnusable",
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
