"""Delivery of messages: the router, writing to this node's connections, delivery traces.

``Router.send`` publishes, ``LocalDelivery.deliver`` writes to the connections of this node.

May import: the packages before it in ``realtime``.
"""
