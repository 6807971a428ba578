"""The seams over Redis (7 or newer) or Valkey (8 or newer), for several processes.

**The server does not offer this yet**: there is no setting for it, ``app.build`` never makes it,
and only the contract suite runs it. Each seam is whole by its protocol. Before several nodes may
serve, the live side has to use what the protocols offer and one process does not need:

- ``ConnectionDirectory.connections`` for lists and ``online``
- ``Broker.followed`` before the head of a stream is read; tails fed by what is received; heads
  compared after ``add_gap_listener`` calls
- statistics, traces, dry runs and top talkers by ``Control``; tickets that any node redeems;
  revocations, members and organizations read again from the database after lost notices
- kept state that several nodes may share

``redis`` is imported by this package only, so that a server without it starts.
"""
