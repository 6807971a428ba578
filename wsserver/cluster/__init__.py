"""The seams between the processes of a cluster, and their implementations.

====================  ==================================================  ===========  =============
module                what it does for the rest of the server             one process  several
====================  ==================================================  ===========  =============
``broker``            publishes messages and signals to all nodes         ``memory``   ``redis``
``directory``         finds connections on all nodes, reserves new ones   ``local``    ``redis``
``control``           sends requests and notices to other nodes           ``local``    ``redis``
``leases``            grants work that one node does for all              ``local``    the database
====================  ==================================================  ===========  =============

The leases of several processes are ``storage.engine.sql_leases``. ``nodes`` asks all nodes or one
by its name, ``progress`` drops signals that come late, ``errors`` are those of the start,
``worker_identity`` is which of several workers a process is.

``realtime``, ``notifications`` and ``web`` import the protocols only; ``cluster_factory`` chooses
the implementations. State that must not be lost is in the database, never here.

May import: protocol.
"""
