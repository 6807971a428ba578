"""WebSocket client: connection options, limits, the monitor's feed; may import ``http``."""
