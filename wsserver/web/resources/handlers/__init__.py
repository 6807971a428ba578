"""What the endpoints do: each parses nothing, decides nothing, and calls the layer that does."""

from __future__ import annotations
