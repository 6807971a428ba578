"""Exports: rows from a source, in a format, whole into a file, each once."""
