"""Inboxes: kept messages of one user, acknowledgements, redelivery, message statuses.

``Inboxes`` is the entry; ``unacked`` is the index of messages without an acknowledgement.

May import: the packages before it in ``realtime``.
"""
