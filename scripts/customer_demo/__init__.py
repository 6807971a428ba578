"""``scripts/demo``: a customer in WeChat, an AI and a person, with simulated partners."""
