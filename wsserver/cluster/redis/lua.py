"""What the Lua scripts of several modules begin with."""

from __future__ import annotations

NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
"""``now``: the clock of the server, in milliseconds."""
