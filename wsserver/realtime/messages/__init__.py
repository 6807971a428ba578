"""The internal message on its way to connections, its audience, and promises for results.

Values only: no sockets, no storage.

May import: protocol, brokers.
"""
