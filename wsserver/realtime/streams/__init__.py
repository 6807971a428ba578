"""Kept messages: streams with epochs and offsets, group append, cache, replay, history.

``Streams`` is the entry; ``AppendQueue`` commits many messages at a time.

May import: storage, cluster, ``realtime.messages``, ``realtime.connections``.
"""
