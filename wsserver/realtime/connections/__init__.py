"""Open connections: registry and indexes, heartbeat, rate limits, token expiry.

``ConnectionInfo`` is one connection, ``Hub`` the registry of all.

May import: protocol, wire, storage, ``realtime.messages``.
"""
