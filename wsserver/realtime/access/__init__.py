"""Access control: entering sessions, and isolation of organizations (tenants) from each other.

Callers never compare organizations themselves.

May import: identity, storage, ``connections``, ``streams`` and ``observability``.
"""
