"""Tests of ``wsserver.wire``."""
