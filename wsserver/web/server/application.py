"""Puts the routes together into what Tornado serves."""

from __future__ import annotations

from tornado.web import Application, RequestHandler

from wsserver.web.api.context import WebContext
from wsserver.web.api.handlers import BaseHandler, NotFoundHandler
from wsserver.web.openapi.document import make_documents
from wsserver.web.resources.routes import ENDPOINTS, TAGS, rules
from wsserver.web.server.assets import asset_rules
from wsserver.web.sockets.sockets import SOCKETS


def make_application(context: WebContext) -> Application:
    """The Tornado application of one server."""
    context.documents = make_documents(ENDPOINTS, SOCKETS, TAGS)
    return Application(
        rules() + asset_rules(),
        default_handler_class=NotFoundHandler,
        log_function=log_request,
        # Origins are checked in BaseHandler. Tornado's own check, on by default from 6.7 on,
        # would refuse those that ``allowed_origins`` names.
        cross_origin_protection=False,
        context=context,
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
