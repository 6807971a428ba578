"""Places outside: how they are written, and which of them may be reached. Knows nothing of us."""
