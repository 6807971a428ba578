"""Answers that grow: messages whose text is appended to until they are finished.

One node owns each answer (``owned_answers``; ``growing_text`` decides about one of them, without
I/O), and ``answer_routing`` brings calls there. Every node with watchers puts its text together
(``followed_answers``, ``followed_text``) and reports who watches (``watchers``).

May import: the packages before it in ``realtime``.
"""
