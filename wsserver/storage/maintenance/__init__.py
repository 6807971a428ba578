"""Backup, pruning, integrity report and statistics of a database.

Used by the server and by ``wsserver db``; beside a running server, except for pruning.

May import: every other package of ``storage``.
"""
