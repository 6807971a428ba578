"""The SQLite database: writer thread, readers, lock, health, migrations, integrity checks.

One thread owns the one writing connection; commits are grouped.

May import: errors, clock, sqlite_utils; no table module.
"""
