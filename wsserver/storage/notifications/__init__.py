"""Tables of notifications: deliveries with attempts, acknowledgements, contacts, known users.

``deliveries`` is a leased work queue (``engine.leases``).

May import: ``storage.engine``.
"""
