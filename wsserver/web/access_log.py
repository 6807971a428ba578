"""One line for each request, and its place in the figures."""

from __future__ import annotations

import logging

from tornado.web import RequestHandler

from wsserver.web.base import BaseHandler
from wsserver.web.traffic import Traffic

log = logging.getLogger("wsserver.web.access")

_LINE = "request method=%s path=%s status=%d ms=%.1f ip=%s id=%s"
QUIET_ROUTES = ("/api/v1/websocket/health", "/metrics")
"""Asked for every few seconds by machines."""


def log_request(handler: RequestHandler) -> None:
    """Log and count an answered request (Tornado's ``log_function``)."""
    request = handler.request
    if isinstance(handler, BaseHandler):
        method = request.method if request.method in handler.allowed_methods else "other"
        log_answer(
            handler.context.traffic,
            method or "other",
            handler.route,
            request.path,
            handler.get_status(),
            request.request_time(),
            handler.remote_ip,
            handler.request_id,
        )


def log_answer(
    traffic: Traffic,
    method: str,
    route: str,
    path: str,
    status: int,
    seconds: float,
    remote_ip: str,
    request_id: str,
) -> None:
    """Log and count an answer: the path alone, as the query may hold a token."""
    traffic.answer(method, route, status, seconds)
    level = logging.DEBUG if route in QUIET_ROUTES and status < 500 else logging.INFO
    if log.isEnabledFor(level):
        # Made here, as the stack that logging would look through says nothing about a request.
        args = (method, path, status, seconds * 1000, remote_ip, request_id)
        log.handle(log.makeRecord(log.name, level, __file__, 0, _LINE, args, None))
