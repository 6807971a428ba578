"""Message brokers: the ``Broker`` interface, and one implementation for each transport."""
