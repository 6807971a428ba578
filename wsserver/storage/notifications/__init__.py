"""Tables of notifications: deliveries with attempts, receipts, contacts, known users.

Deliveries are leased by the queue that works them off.

May import: ``storage.engine``.
"""
