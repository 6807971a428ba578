"""Access control: who may enter a session, and what one organization may see and reach.

One decision for each question; callers never compare organizations themselves.

May import: identity, storage, ``connections``, ``streams`` and ``observability``.
"""
