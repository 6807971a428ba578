"""From a message to its connections: the router, and the buffer of delivery traces.

``Router.send`` publishes, ``Router.deliver`` writes to the connections of this node.

May import: the packages before it in ``realtime``.
"""
