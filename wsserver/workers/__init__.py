"""Several worker processes on one machine: ``wsserver serve --workers N``.

``supervisor`` binds the listening sockets, starts a private Valkey server (``valkey``) and the
workers (``worker``), and restarts what ends. ``fleet`` decides, without I/O; ``channel`` carries
the messages between supervisor and worker.
"""
