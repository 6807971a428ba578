"""Tests of the client for backends."""
