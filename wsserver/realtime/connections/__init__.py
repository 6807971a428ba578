"""Open connections: registry and indexes, heartbeat, rate limits, token expiry.

``ConnectionInfo`` is a connection, ``Hub`` the registry of all.

May import: protocol, wire, storage, ``realtime.messages``.
"""
