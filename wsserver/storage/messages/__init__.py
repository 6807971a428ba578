"""Tables of kept messages: streams, appends, retention, receipts.

Reads are paged by offset and bounded.

May import: ``storage.engine``.
"""
