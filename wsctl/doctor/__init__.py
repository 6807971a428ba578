"""``wsctl doctor``: facts are gathered at the edge, and judged by pure functions."""
