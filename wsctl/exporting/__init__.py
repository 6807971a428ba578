"""``wsctl export``: rows from a source, in a format, atomically into a file, each exactly once.

May import ``snapshots`` and what is before it.
"""
