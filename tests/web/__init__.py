"""Tests of the HTTP side: REST API, handshakes, listener."""
