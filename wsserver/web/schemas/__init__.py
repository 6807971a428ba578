"""JSON answer types of the REST API, from which its OpenAPI document is made.

msgspec structs; no logic.

May import: protocol.
"""
