"""Inboxes: kept messages of one user, acknowledgements, redelivery, message statuses.

``Inboxes`` is the entry; ``unacked`` has what is waiting for an acknowledgement.

May import: the packages before it in ``realtime``.
"""
