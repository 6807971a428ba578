"""Backup, pruning, inspection and diagnosis of a database, in the server and from the command line.

Works beside a running server where that is safe, and says so where it is not.

May import: every other package of ``storage``.
"""
