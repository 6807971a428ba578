"""The OpenAPI document and its readable page, made from the route table.

Made once at start.

May import: ``web.api``, ``web.schemas``.
"""
