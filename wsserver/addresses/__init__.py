"""Addresses of other systems: parsing of contact addresses, and SSRF protection for URLs."""
