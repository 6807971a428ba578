"""How a message reaches every node: one interface, one implementation for each transport."""
