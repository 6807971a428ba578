"""Databases: writer thread, readers, lock, health, migrations, integrity checks.

One thread owns the one writing connection; commits are grouped. ``Database`` and ``Connection`` are
what the modules of tables use; ``SqliteDatabase`` and ``postgres.PostgresDatabase`` implement them.

May import: errors, clock, sqlite_utils, psycopg in ``postgres``; no table module.
"""
