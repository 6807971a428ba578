"""Tests of distributed traces."""
