"""Message tracing, and dry runs: the recipients that a message had, or would have.

``GET /messages/{message_id}`` and ``POST /messages/explain``.

May import: the packages before it in ``realtime``.
"""
