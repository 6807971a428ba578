"""Tracing: where a message went, and (dry run) where one would go.

Answers of ``GET /messages/{id}`` and ``POST /messages/explain``.

May import: the packages before it in ``realtime``.
"""
