"""Tests of ``Server``: the server inside a Python program."""
