"""``wsctl bench``: a small load of one's own, measured and taken away again."""
