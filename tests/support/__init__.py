"""Test support: servers, clients, fakes and helpers that several test modules use."""
