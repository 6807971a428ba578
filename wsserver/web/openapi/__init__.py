"""OpenAPI document and its readable page, made from the route table at start.

May import: ``web.api``.
"""
