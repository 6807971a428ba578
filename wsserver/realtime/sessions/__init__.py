"""Sessions: joining, leaving, and presence.

Presence is what the members of a session learn of each other's connections.

May import: the packages before it in ``realtime``.
"""
