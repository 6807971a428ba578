"""What backends and operators do: publish, disconnect, ping, list, revoke.

Used by REST and by monitor sockets alike; each action checks permission and scope and is audited.

May import: every package of ``realtime`` but ``commands``.
"""
