"""Command-line framework on click: root group, global options, completion, prompts.

May import ``output``, ``config`` and ``http``. Commands are named here by strings and imported
when they are called, which keeps the start quick.
"""
