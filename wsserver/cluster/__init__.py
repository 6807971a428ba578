"""The seams between the processes of a cluster, and their implementations for one process.

====================  ==================================================  ====================
module                what it does for the rest of the server             in one process
====================  ==================================================  ====================
``broker.py``         publishes messages and signals to all nodes         ``memory.py``
``directory.py``      finds connections on all nodes, reserves new ones   ``local.py``
``control.py``        asks and notifies other nodes                       ``local.py``
``leases.py``         grants work that one node does for all              ``local.py``
====================  ==================================================  ====================

``realtime``, ``notifications`` and ``web`` import the protocols only; ``app.build`` chooses the
implementations. State that must not be lost is in the database, never here.

May import: protocol.
"""
