"""Stored statistics: read from the API or the database file, compared; may import ``http``."""
