"""WebSocket endpoints: admission and the opening handshake.

After the 101 response the socket belongs to ``wire``.

May import: ``web.api``, realtime, wire.
"""
