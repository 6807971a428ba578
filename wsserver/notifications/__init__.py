"""Notifications and webhooks: durable delivery by e-mail, SMS, push, inbox and HTTP.

``service`` accepts notifications, ``delivery_queue`` delivers them by the channels in ``channels``
and posts events to webhooks; ``notification_api`` and ``webhook_api`` are the operations of REST.

May import: ``realtime``, ``storage``, ``protocol``; no web module.
"""
