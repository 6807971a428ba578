"""Accounts of messengers: their contacts write in sessions, and get what is written there."""
