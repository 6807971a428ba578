"""The listener: a fast path for common handshakes and API requests, Tornado for everything else.

May import: every other package of ``web``.
"""
