"""Handlers of socket commands: chat, streams, receipts, monitor.

``Dispatcher`` finds them in a table; each gets a decoded command and returns its reply.

May import: every other package of ``realtime``.
"""
