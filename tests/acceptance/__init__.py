"""Acceptance tests: the contract, tested on a server process with real clients."""
