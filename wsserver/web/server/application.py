"""Tornado application: all routes of the API, the WebSockets and the static files."""

from __future__ import annotations

from functools import partial

from tornado.web import Application, RequestHandler

from wsserver.web.api.context import LazyDocuments, WebContext
from wsserver.web.api.handlers import BaseHandler, NotFoundHandler, rule_for
from wsserver.web.openapi.document import make_documents
from wsserver.web.resources.routes import RouteTable
from wsserver.web.server.assets import asset_rules
from wsserver.web.server.console_sign_in import console_rules
from wsserver.web.sockets.event_streams import EVENT_STREAMS, EventStreamHandler
from wsserver.web.sockets.sockets import SOCKETS, SocketHandler


def api_documents(routes: RouteTable) -> LazyDocuments:
    """The description of the API, from its route table."""
    return LazyDocuments(
        partial(
            make_documents, routes.endpoints, SOCKETS, EVENT_STREAMS, routes.tags, routes.errors
        )
    )


def make_application(context: WebContext, routes: RouteTable) -> Application:
    """The Tornado application of one server."""
    sockets = [
        rule_for(each.path, handler, socket=each)
        for handler, table in ((SocketHandler, SOCKETS), (EventStreamHandler, EVENT_STREAMS))
        for each in table
    ]
    return Application(
        routes.rules() + sockets + console_rules() + asset_rules(context.console_pages),
        default_handler_class=NotFoundHandler,
        log_function=log_request,
        # BaseHandler checks origins. Tornado's check, on by default from 6.7 on, would refuse
        # those in ``allowed_origins``.
        cross_origin_protection=False,
        context=context,
        routes=routes,
    )


def log_request(handler: RequestHandler) -> None:
    """Log and count an answered request (Tornado's ``log_function``)."""
    request = handler.request
    if isinstance(handler, BaseHandler):
        method = request.method if request.method in handler.allowed_methods else "other"
        handler.context.access_log.answered(
            method or "other",
            handler.route,
            request.path,
            handler.get_status(),
            request.request_time(),
            handler.remote_ip,
            handler.request_id,
            is_routine=handler.is_routine,
        )
