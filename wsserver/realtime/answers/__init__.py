"""Answers that grow: messages whose text is appended to until they are finished.

``growing_text`` decides about one answer, without I/O; ``followed_text`` puts its text together
on a node with watchers.

May import: the packages before it in ``realtime``.
"""
