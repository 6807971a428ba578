"""Small tables, one module each.

Audit, idempotency, members, revocations, webhooks, snapshots, exports: statements and row types.

May import: ``storage.engine``.
"""
