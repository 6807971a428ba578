"""The engine: connections, routing, kept streams, delivery, and the commands of sockets.

Packages, from the lowest to the highest; each may import those before it:

``messages``       the internal message, its audience, and promises for results
``connections``    open connections: registry, indexes, heartbeat, rate limits, token expiry
``streams``        kept messages: append queue, cache, replay, history
``observability``  statistics, events, alerts, monitors
``access``         who may enter, see and reach what: sessions, members, organizations
``delivery``       from a message to its connections; what is traced on the way
``sessions``       joining, leaving, presence
``inbox``          kept messages of one user: acknowledgements, redelivery, statuses
``tracing``        where a message went, and where one would go
``operations``     what operators and backends do: publish, disconnect, query
``commands``       the handlers of socket commands

Beside them: ``manager`` (the face of the engine), ``dispatcher`` (commands to handlers),
``connect_state`` and ``delivery_wiring``.
"""
