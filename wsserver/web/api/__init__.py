"""What every REST request passes: route rows, checks, idempotency, problem documents.

``pipeline`` runs a request through every check, whichever door it came by.

May import: ``web.http``, realtime, notifications.
"""
