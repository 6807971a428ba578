"""Examples for the OpenAPI document, by struct; a test holds each against its struct."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from wsserver.protocol import requests
from wsserver.protocol.notifications import ContactsRequest, NotifyRequest
from wsserver.web.schemas import core as answers
from wsserver.web.schemas.traces import Trace

_CONNECTION = {
    "connection_id": "conn_12345",
    "user_id": "user_67890",
    "session_id": "session_abc123",
    "sessions": ["session_abc123"],
    "connected_at": "2024-01-15T14:30:00.000Z",
    "last_ping": "2024-01-15T14:35:20.000Z",
    "last_pong": "2024-01-15T14:35:21.000Z",
    "is_alive": True,
    "metadata": {"username": "sales_manager", "role": "manager", "organization_id": "org_123"},
    "remote_ip": "192.0.2.7",
    "user_agent": "Mozilla/5.0",
    "endpoint": "session",
    "protocol": "wsserver.v1",
    "rtt_ms": 12.5,
    "queued_bytes": 0,
}
_PERCENTILES = {"p50": 0.2, "p95": 0.9, "p99": 1.4, "max": 3.0}

EXAMPLES: dict[type[Struct], Any] = {
    requests.BroadcastRequest: {"type": "announcement", "data": {"text": "Maintenance at 22:00"}},
    requests.PublishRequest: {
        "target": {"type": "user", "id": "user_67890"},
        "type": "order.shipped",
        "data": {"order_id": "o-1"},
    },
    requests.TargetedBody: {
        "type": "new_message",
        "session_id": "session_abc123",
        "content": "您好",
    },
    requests.BatchRequest: {
        "messages": [
            {
                "target": {"type": "session", "id": "session_abc123"},
                "type": "ai_processing_status",
                "status": "processing",
                "progress": 0.4,
            }
        ]
    },
    requests.DisconnectRequest: {"user_id": "user_67890", "reason": "signed out elsewhere"},
    requests.PingRequest: {"timeout_s": 5},
    requests.MembersRequest: {"user_ids": ["user_67890", "user_13579"]},
    requests.TicketRequest: {},
    requests.RevokeRequest: {"user_id": "user_67890"},
    answers.Stats: {
        "total_connections": 156,
        "active_connections": 142,
        "messages_sent": 15420,
        "messages_received": 8930,
        "disconnections": 45,
        "errors": 12,
        "active_users": 89,
        "active_sessions": 67,
        "total_user_connections": 156,
        "total_session_connections": 134,
        "uptime_s": 86400.0,
        "connects": 201,
        "refused_commands": 9,
        "failed_sends": 3,
        "internal_errors": 0,
        "handler_failures": 0,
        "queued_bytes": 0,
        "rates": {
            "messages_sent_per_s": 12.0,
            "messages_received_per_s": 4.5,
            "connects_per_s": 0.1,
        },
        "deliver_ms": _PERCENTILES,
        "rtt_ms": _PERCENTILES,
        "node": "node-1",
        "notifications": {
            "email": {
                "sent": 12,
                "failed": 1,
                "retried": 3,
                "expired": 0,
                "acknowledged": 0,
                "acknowledged_ms": {"p50": None, "p95": None, "p99": None, "max": None},
            }
        },
    },
    answers.Connection: _CONNECTION,
    answers.Connections: {"connections": [_CONNECTION], "total": 1, "next_cursor": None},
    answers.Disconnected: {"disconnected": 1},
    answers.PingResult: {
        "user_id": "user_67890",
        "online": True,
        "connections": [{"connection_id": "conn_12345", "alive": True, "rtt_ms": 12.5}],
    },
    answers.Published: {"message_id": "msg_12345", "matched": 2, "sent": 2, "failed": 0},
    Trace: {
        "message_id": "msg_12345",
        "type": "new_message",
        "class": "live",
        "target": {"type": "session", "id": "session_abc123"},
        "accepted_at": "2024-01-15T14:30:00.000Z",
        "accepted_from": {
            "user_id": "user_67890",
            "role": "user",
            "via": "socket",
            "id": "conn_12345",
        },
        "recipients": [
            {
                "user_id": "user_13579",
                "connection_id": "conn_67890",
                "state": "sent",
                "history": [{"state": "sent", "at": "2024-01-15T14:30:00.000Z"}],
            }
        ],
        "truncated": False,
        "summary": {
            "total": 1,
            "pending": 0,
            "sent": 1,
            "delivered": 0,
            "read": 0,
            "dropped": 0,
            "expired": 0,
        },
    },
    NotifyRequest: {
        "user_ids": ["user_67890"],
        "template": "device_status",
        "params": {
            "device_id": "device_123",
            "device_name": "张三的微信",
            "old_status": "online",
            "new_status": "offline",
        },
    },
    ContactsRequest: {
        "organization_id": "org_123",
        "email": "user@example.com",
        "phone": "+8613800138000",
        "locale": "zh-CN",
        "quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Asia/Shanghai"},
    },
    answers.Ticket: {"ticket": "…", "expires_at": "2024-01-15T14:30:30.000Z"},
    answers.Revoked: {"user_id": "user_67890", "disconnected": 2},
}
