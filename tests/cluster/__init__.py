"""Tests of several nodes: real processes on one PostgreSQL database and one Valkey server."""
