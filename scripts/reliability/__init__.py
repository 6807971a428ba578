"""Kills, cuts off and crowds a running server, and counts what was lost; see scripts/torture."""
