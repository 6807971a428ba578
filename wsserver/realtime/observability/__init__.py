"""Statistics, events, alerts, and the monitor sockets that show them.

Counters are plain integers that cost nothing until they are read.

May import: ``realtime.connections``, ``realtime.messages``.
"""
