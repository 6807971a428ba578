"""WebSocket endpoints up to the handshake, and admission of connections.

After the 101 the socket belongs to ``wire``.

May import: ``web.api``, realtime, wire.
"""
