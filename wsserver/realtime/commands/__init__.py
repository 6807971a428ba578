"""Handlers of socket commands: chat, streams, receipts, monitor.

They are registered with ``Dispatcher``; each gets a decoded command and returns its reply.

May import: every other package of ``realtime``.
"""
