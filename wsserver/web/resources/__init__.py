"""REST resources, one module each: answer and query types, examples, handlers.

``routes`` lists the modules. A handler gets a ``Call`` with validated body and query, and calls
the layer that does the work. Types of bodies are in ``protocol.requests``.

May import: ``web.api``, ``web.sockets`` (``routes`` only), realtime, notifications.
"""
