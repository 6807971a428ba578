"""Tests of addresses: mail, phone, SMTP URLs, reachable networks."""
