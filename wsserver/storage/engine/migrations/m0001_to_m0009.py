"""Migrations 1 to 9: snapshots, audit, tokens, members, kept messages, receipts, notifications."""

from __future__ import annotations

import sqlite_utils
from sqlite_utils import Migrations

from wsserver.storage.engine.epochs import new_epoch

MIGRATIONS = Migrations("wsserver")
"""All migrations: each range of numbers adds its own to those of the range before."""


@MIGRATIONS()
def m0001_snapshots(db: sqlite_utils.Database) -> None:
    """Statistics: raw snapshots and, for what has left the retention, sums for each hour.

    Sums rather than means are stored, so that an hour can be added to in as many batches as it
    takes and stay exact; the view ``snapshot_means`` divides. ``extra`` is JSON: numbers by name
    in ``snapshots``, ``[sum, count]`` by name in ``snapshot_hours``.
    """
    db.execute("""
        CREATE TABLE snapshots (
            at REAL NOT NULL,
            node TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            total_connections INTEGER NOT NULL,
            active_connections INTEGER NOT NULL,
            messages_sent INTEGER NOT NULL,
            messages_received INTEGER NOT NULL,
            disconnections INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            active_users INTEGER NOT NULL,
            active_sessions INTEGER NOT NULL,
            total_user_connections INTEGER NOT NULL,
            total_session_connections INTEGER NOT NULL,
            extra TEXT NOT NULL DEFAULT '{}',
            PRIMARY KEY (at, node, sequence)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE snapshot_hours (
            hour INTEGER NOT NULL,
            node TEXT NOT NULL,
            samples INTEGER NOT NULL CHECK (samples > 0),
            total_connections INTEGER NOT NULL,
            active_connections INTEGER NOT NULL,
            messages_sent INTEGER NOT NULL,
            messages_received INTEGER NOT NULL,
            disconnections INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            active_users INTEGER NOT NULL,
            active_sessions INTEGER NOT NULL,
            total_user_connections INTEGER NOT NULL,
            total_session_connections INTEGER NOT NULL,
            extra TEXT NOT NULL DEFAULT '{}',
            PRIMARY KEY (hour, node)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE VIEW snapshot_means AS SELECT
            hour AS at,
            node,
            samples,
            1.0 * total_connections / samples AS total_connections,
            1.0 * active_connections / samples AS active_connections,
            1.0 * messages_sent / samples AS messages_sent,
            1.0 * messages_received / samples AS messages_received,
            1.0 * disconnections / samples AS disconnections,
            1.0 * errors / samples AS errors,
            1.0 * active_users / samples AS active_users,
            1.0 * active_sessions / samples AS active_sessions,
            1.0 * total_user_connections / samples AS total_user_connections,
            1.0 * total_session_connections / samples AS total_session_connections,
            (
                SELECT json_group_object(
                    key, 1.0 * json_extract(value, '$[0]') / json_extract(value, '$[1]')
                )
                FROM json_each(snapshot_hours.extra)
            ) AS extra
        FROM snapshot_hours
    """)


@MIGRATIONS()
def m0002_audit(db: sqlite_utils.Database) -> None:
    """The audit trail. AUTOINCREMENT: an id is never reused, so cursors stay valid."""
    db.execute("""
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            actor TEXT NOT NULL,
            role TEXT NOT NULL,
            action TEXT NOT NULL,
            target TEXT NOT NULL,
            detail TEXT NOT NULL,
            outcome TEXT NOT NULL,
            request_id TEXT NOT NULL,
            remote_ip TEXT NOT NULL
        ) STRICT
    """)
    db.execute("CREATE INDEX audit_by_actor ON audit (actor, id)")
    db.execute("CREATE INDEX audit_by_action ON audit (action, id)")
    db.execute("CREATE INDEX audit_by_time ON audit (at)")


@MIGRATIONS()
def m0003_revocations(db: sqlite_utils.Database) -> None:
    """Revoked tokens: one by ``jti``, or all of a user's tokens issued before ``at``."""
    db.execute("""
        CREATE TABLE revocations (
            kind TEXT NOT NULL CHECK (kind IN ('jti', 'user')),
            value TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (kind, value)
        ) STRICT, WITHOUT ROWID
    """)


@MIGRATIONS()
def m0004_idempotency(db: sqlite_utils.Database) -> None:
    """Answers by idempotency key; ``status`` NULL while the first request is running.

    ``process``: the run of the server that claimed the key; the next run ignores its claims
    without an answer.
    """
    db.execute("""
        CREATE TABLE idempotency (
            scope TEXT NOT NULL,
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            process TEXT NOT NULL,
            claimed_at REAL NOT NULL,
            status INTEGER,
            headers TEXT,
            body BLOB,
            UNIQUE (scope, key)
        ) STRICT
    """)
    db.execute("CREATE INDEX idempotency_by_time ON idempotency (claimed_at)")


@MIGRATIONS()
def m0005_session_members(db: sqlite_utils.Database) -> None:
    """Member lists of sessions."""
    db.execute("""
        CREATE TABLE session_members (
            session_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            added_by TEXT NOT NULL,
            added_at REAL NOT NULL,
            PRIMARY KEY (session_id, user_id)
        ) STRICT, WITHOUT ROWID
    """)


@MIGRATIONS()
def m0006_audit_by_outcome(db: sqlite_utils.Database) -> None:
    """Index for counting and pruning the audit trail by action and outcome."""
    db.execute("CREATE INDEX audit_by_outcome ON audit (action, outcome, id)")


@MIGRATIONS()
def m0007_streams(db: sqlite_utils.Database) -> None:
    """Kept messages: streams, their messages, deduplication keys.

    ``messages.key`` is ``stream << 38 | offset``: a stream's messages lie side by side, in order,
    in one b-tree. The checks keep either part inside its bits
    (``wsserver.storage.messages.message_rows``).
    ``meta`` holds the epoch of every stream without a row.
    """
    db.execute(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute("INSERT INTO meta (key, value) VALUES ('epoch', ?)", [new_epoch()])
    db.execute("""
        CREATE TABLE streams (
            id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 33554431),
            name TEXT NOT NULL UNIQUE,
            epoch TEXT NOT NULL,
            last_offset INTEGER NOT NULL CHECK (last_offset BETWEEN 0 AND 274877906943),
            first_offset INTEGER NOT NULL DEFAULT 1,
            touched_at REAL NOT NULL
        ) STRICT
    """)
    db.execute("""
        CREATE TABLE messages (
            key INTEGER PRIMARY KEY,
            message_id TEXT NOT NULL UNIQUE,
            type TEXT NOT NULL,
            at REAL NOT NULL,
            expires_at REAL NOT NULL,
            has_ttl INTEGER NOT NULL CHECK (has_ttl IN (0, 1)),
            sender TEXT,
            origin TEXT NOT NULL,
            audience TEXT,
            payload BLOB NOT NULL
        ) STRICT
    """)
    db.execute("CREATE INDEX messages_by_expiry ON messages (expires_at)")
    db.execute("""
        CREATE TABLE dedup (
            scope TEXT NOT NULL,
            key TEXT NOT NULL,
            message_id TEXT NOT NULL,
            stream TEXT NOT NULL,
            epoch TEXT NOT NULL,
            "offset" INTEGER NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (scope, key)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("CREATE INDEX dedup_by_time ON dedup (at)")


@MIGRATIONS()
def m0008_receipts(db: sqlite_utils.Database) -> None:
    """Delivery receipts of kept messages: for one message, or everything up to an offset.

    ``receipts.key`` is that of ``messages``; whoever deletes a message deletes its receipts.
    """
    db.execute("""
        CREATE TABLE receipts (
            key INTEGER NOT NULL,
            user_id TEXT NOT NULL,
            delivered_at REAL,
            read_at REAL,
            PRIMARY KEY (key, user_id)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE cursors (
            stream_id INTEGER NOT NULL,
            user_id TEXT NOT NULL,
            "offset" INTEGER NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (stream_id, user_id)
        ) STRICT, WITHOUT ROWID
    """)


@MIGRATIONS()
def m0009_notifications(db: sqlite_utils.Database) -> None:
    """Notifications, a delivery for each recipient and channel, and every attempt at one.

    ``deliveries`` is also the queue: what is ``pending`` has ``due_at``; what is ``sending`` has
    ``owner`` (a run of the server) and ``lease_until``. ``number``: attempts so far, of which
    ``forgiven`` were before the latest retry by hand. ``stops``: becomes ``cancelled`` instead of
    being tried again. ``digest``: of which template it is, where many of one kind go as one;
    ``is_held``: waits for the end of the window for that. ``once``: scope and key of the request,
    for a day.
    """
    db.execute("""
        CREATE TABLE notifications (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            notification_id TEXT NOT NULL UNIQUE,
            at REAL NOT NULL,
            expires_at REAL NOT NULL,
            type TEXT NOT NULL,
            template TEXT,
            content TEXT NOT NULL,
            recipients TEXT NOT NULL,
            sender TEXT,
            organization_id TEXT,
            once TEXT UNIQUE
        ) STRICT
    """)
    db.execute("CREATE INDEX notifications_by_time ON notifications (at)")
    db.execute("""
        CREATE TABLE deliveries (
            id INTEGER PRIMARY KEY,
            delivery_id TEXT NOT NULL UNIQUE,
            notification INTEGER NOT NULL,
            user_id TEXT NOT NULL,
            channel TEXT NOT NULL,
            state TEXT NOT NULL,
            due_at REAL,
            expires_at REAL NOT NULL,
            unless_acknowledged INTEGER NOT NULL CHECK (unless_acknowledged IN (0, 1)),
            digest TEXT,
            is_held INTEGER NOT NULL DEFAULT 0 CHECK (is_held IN (0, 1)),
            number INTEGER NOT NULL DEFAULT 0,
            forgiven INTEGER NOT NULL DEFAULT 0,
            stops INTEGER NOT NULL DEFAULT 0 CHECK (stops IN (0, 1)),
            owner TEXT,
            lease_until REAL,
            sent_at REAL,
            acknowledged_at REAL
        ) STRICT
    """)
    for statement in (
        "CREATE INDEX deliveries_by_notification ON deliveries (notification, user_id)",
        "CREATE INDEX deliveries_by_user ON deliveries (user_id, notification)",
        "CREATE INDEX deliveries_due ON deliveries (channel, due_at) WHERE state = 'pending'",
        "CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'sending'",
        "CREATE INDEX deliveries_open ON deliveries (expires_at)"
        " WHERE state IN ('pending', 'sent') AND (state = 'pending' OR channel = 'websocket')",
        "CREATE INDEX deliveries_digested ON deliveries (user_id, channel, digest)"
        " WHERE digest IS NOT NULL",
    ):
        db.execute(statement)
    db.execute("""
        CREATE TABLE attempts (
            delivery INTEGER NOT NULL,
            number INTEGER NOT NULL,
            at REAL NOT NULL,
            outcome TEXT NOT NULL,
            detail TEXT NOT NULL,
            PRIMARY KEY (delivery, number)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE quota_marks (
            scope TEXT NOT NULL,
            kind TEXT NOT NULL,
            period TEXT NOT NULL,
            threshold INTEGER NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (scope, kind, period, threshold)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE contacts (
            user_id TEXT PRIMARY KEY,
            organization_id TEXT,
            contact TEXT NOT NULL,
            changed_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE known_users (
            user_id TEXT PRIMARY KEY,
            organization_id TEXT,
            role TEXT NOT NULL,
            seen_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("CREATE INDEX known_users_by_organization ON known_users (organization_id)")
    db.execute("CREATE INDEX known_users_by_time ON known_users (seen_at)")
