"""Live connections: who is connected, what reaches whom, what is known about it."""
