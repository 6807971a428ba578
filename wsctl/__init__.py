"""``wsctl``: the operators' command line of wsserver; speaks HTTP and imports nothing of it."""
