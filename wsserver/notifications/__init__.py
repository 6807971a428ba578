"""Notifications that arrive: templates, rules, channels, durable delivery."""
