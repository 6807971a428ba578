"""Small tables: audit trail, idempotency keys, access lists, snapshots, webhook outbox; exports.

May import: ``storage.engine``, ``storage.messages`` and ``storage.notifications``.
"""
