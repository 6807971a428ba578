"""Loads the server and its peers, and tells what each of them costs; see scripts/bench."""
