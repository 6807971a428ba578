"""Statistics, events, alerts, and monitor sockets that receive them.

Counters are plain integers; everything derived is computed when it is read.

May import: ``realtime.connections``, ``realtime.messages``.
"""
