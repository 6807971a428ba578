"""The listener: fast paths for handshakes and plain requests, Tornado for everything else.

``WebServer`` accepts, ``fast_handshake`` and ``fast_http`` answer the common cases.

May import: every other package of ``web``.
"""
