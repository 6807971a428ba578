"""Tests of the workers' supervisor: its decisions, its parts, without server processes."""
