"""``wsctl top``: a model of the server's state, its layout, and the terminal that shows it.

May import ``websocket`` and what is before it.
"""
