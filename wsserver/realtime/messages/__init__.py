"""Internal messages before they are encoded, their audiences, and promises for results.

Values only: no sockets, no storage.

May import: protocol, cluster.
"""
