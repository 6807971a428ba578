"""Tasks: work in steps, with an assignee, a due time and a history."""
