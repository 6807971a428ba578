"""``wsctl bench``: a small load test against a running server; may import ``websocket``."""
