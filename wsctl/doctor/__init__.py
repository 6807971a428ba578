"""``wsctl doctor``: collects facts over the network, then judges them in pure functions.

May import ``websocket`` and what is before it.
"""
