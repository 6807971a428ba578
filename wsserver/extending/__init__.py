"""The interface of extensions, independent of each of them; see ``docs/extending.rst``."""

from __future__ import annotations

from wsserver.config import Settings, TableFault
from wsserver.errors import Meaning, WsServerError
from wsserver.extending.context import Access, ExtensionContext, Pushes
from wsserver.extending.extension import Extension, ExtensionResource, Job, NoOptions, Part, Query
from wsserver.extending.secrets import SecretOptions, secret_faults, secret_of
from wsserver.extending.urls import url_faults
from wsserver.notifications.templates import TemplateFiles
from wsserver.protocol.commands import Command
from wsserver.protocol.requests import Request
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.messages.message import Message
from wsserver.realtime.operations.user_records import UserErased
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.maintenance.user_tables import UserTable
from wsserver.storage.messages.answers import EndedAnswer
from wsserver.web.api.answers import Answer, Listing
from wsserver.web.api.console_pages import ConsolePage
from wsserver.web.api.endpoint import PUBLIC, SIGNED_IN, Call
from wsserver.web.api.queries import PageQuery

__all__ = [
    "PUBLIC",
    "SIGNED_IN",
    "Access",
    "Actor",
    "Answer",
    "Call",
    "Command",
    "Connection",
    "ConnectionInfo",
    "ConsolePage",
    "EndedAnswer",
    "Extension",
    "ExtensionContext",
    "ExtensionResource",
    "Job",
    "Listing",
    "Meaning",
    "Message",
    "Migration",
    "NoOptions",
    "PageQuery",
    "Part",
    "Pushes",
    "Query",
    "Request",
    "SecretOptions",
    "Settings",
    "TableFault",
    "Target",
    "TargetType",
    "TemplateFiles",
    "UserErased",
    "UserTable",
    "WsServerError",
    "secret_faults",
    "secret_of",
    "url_faults",
]
