"""Tables of notifications: deliveries with attempts, acknowledgements, contacts, known users.

``deliveries`` is a leased work queue (``engine.leased_table``).

May import: ``storage.engine``.
"""
