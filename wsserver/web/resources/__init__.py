"""REST resources: route rows and their handlers.

A handler gets a ``Call`` whose body and query are validated, and returns the answer.

May import: ``web.api``, ``web.schemas``, ``web.sockets``.
"""
