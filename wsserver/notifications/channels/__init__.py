"""The ways out of a notification, each in a module of its own behind one interface."""
