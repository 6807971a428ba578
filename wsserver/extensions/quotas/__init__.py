"""Quotas: how much of something organizations and users may use in a period, and what they used."""
