"""Sessions: joining, leaving, and presence.

Presence: the members of a session are notified of each other's connections.

May import: the packages before it in ``realtime``.
"""
