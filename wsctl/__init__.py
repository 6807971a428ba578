"""``wsctl``: the operators' command line of wsserver.

It speaks HTTP and WebSocket and imports nothing of ``wsserver``. Modules at this level (``errors``,
``text``, ``times``, ``atomic_file``) are leaves that every package may import; of the packages,
each imports those before it: ``output``, ``config``, ``http``, ``websocket`` and ``snapshots``,
then ``cli`` beside ``bench``, ``doctor``, ``exporting`` and ``top``, and last ``commands``.
"""
