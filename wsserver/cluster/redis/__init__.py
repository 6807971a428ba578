"""The seams over Redis (7 or newer) or Valkey (8 or newer), for several processes.

``wiring.build_redis`` builds them, from ``redis_url`` or the private Valkey server of ``workers``.
Redis has only what passes: it may be emptied at any time, and what has to last is in the database.

==========================  ========================================================================
module                      what it does
==========================  ========================================================================
``link``                    connections to the server, and checks that it can be used
``bus``                     datagrams between nodes over pub/sub, probed along the same path
``outgoing``                those that wait to be sent, joined by channel
``pubsub_connection``       their connection: publishes and listens, without a general client
``lua``                     what the scripts of several modules begin with
``nodes``                   registry of the nodes, each with a lease
``broker``                  publications and signals, to the nodes that follow a target
``pending``                 publications whose results are awaited
``control``                 requests and notices
``directory``               connections of all nodes: counts, limits, lists
``directory_upkeep``        its periodic part: leases, lost nodes, and what was missed
``directory_writes``        its changes, many in one pipeline
``directory_reservations``  the connects in progress, which count as connections
``directory_scripts``       its Lua scripts; ``directory_records`` reads their answers
``tickets``                 tickets that any node redeems once
==========================  ========================================================================

``redis`` is imported by this package only, and this package by ``cluster_factory`` only: a server
without the driver starts.
"""
