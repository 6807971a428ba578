"""Operations of backends and administrators: publish, disconnect, ping, list, revoke.

Used by REST and by monitor sockets; each checks permission and scope, changes are audited.

May import: every package of ``realtime`` but ``commands``.
"""
