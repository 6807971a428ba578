"""REST framework: endpoint rows, request pipeline, query parsing, idempotency, problem documents.

``pipeline`` has the checks of every request; ``handlers`` connects it to Tornado.

May import: ``web.http``, realtime, notifications, storage.
"""
