"""One line for each request, and its place in the figures."""

from __future__ import annotations

import logging

from tornado.web import RequestHandler

from wsserver.web.base import BaseHandler

log = logging.getLogger("wsserver.web.access")

QUIET_ROUTES = ("/api/v1/websocket/health", "/metrics")
"""Asked for every few seconds by machines."""


def log_request(handler: RequestHandler) -> None:
    """Log and count an answered request: the path alone, as the query may hold a token."""
    request = handler.request
    seconds = request.request_time()
    status = handler.get_status()
    route, request_id, remote_ip = "*", "", request.remote_ip
    if isinstance(handler, BaseHandler):
        route, request_id, remote_ip = handler.route, handler.request_id, handler.remote_ip
        method = request.method if request.method in handler.allowed_methods else "other"
        handler.context.traffic.answer(method or "other", route, status, seconds)
    level = logging.DEBUG if route in QUIET_ROUTES and status < 500 else logging.INFO
    log.log(
        level,
        "request method=%s path=%s status=%d ms=%.1f ip=%s id=%s",
        request.method,
        request.path,
        status,
        seconds * 1000,
        remote_ip,
        request_id,
    )
