"""``wsctl replay``: what was recorded, played to another server with its timing."""
