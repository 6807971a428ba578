"""The live side: connections, sessions, streams, delivery, and the commands of sockets.

Packages, from the lowest to the highest; each may import those before it:

``messages``       the internal message, its audience, and promises for results
``connections``    open connections: registry, indexes, heartbeat, rate limits, token expiry
``streams``        kept messages: append queue, cache, replay, history
``observability``  statistics, events, alerts, monitors
``access``         access to sessions, users and messages: members, organizations
``delivery``       routing messages to connections; the buffer of delivery traces
``sessions``       joining and leaving sessions, presence
``inbox``          kept messages of one user: acknowledgements, redelivery, statuses
``tracing``        recipients of past messages, and of messages that would be sent
``operations``     operations of administrators and backends: publish, disconnect, query
``commands``       the handlers of socket commands

Beside them: ``manager`` (``WebSocketManager``, the entry), ``dispatcher`` (runs command handlers),
``connect_state`` (stream positions of a new connection), ``wiring`` (builds all of it).
"""
