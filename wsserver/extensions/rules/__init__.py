"""Rules: customers who wait and answers that stall are noticed, with events and notifications."""
