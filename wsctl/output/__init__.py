"""Output: tables, JSON, CSV, charts and wrapped lines; imports the leaves only."""
