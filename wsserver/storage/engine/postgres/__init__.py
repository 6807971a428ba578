"""PostgreSQL: connections, group commits with a marker, translation of SQL, migrations.

The driver (psycopg) is the extra ``postgres``: imported when a database is opened.

May import: ``storage.engine``, psycopg.
"""
