"""Servers to compare with: the same work as wsserver's, written as the frameworks teach it."""
