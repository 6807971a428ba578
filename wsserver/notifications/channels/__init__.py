"""Notification channels: WebSocket inbox, e-mail, SMS, Web Push, behind ``base.Channel``."""
