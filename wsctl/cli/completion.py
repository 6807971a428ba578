"""Completion of parameter values: ids from the server, contexts, fixed names.

Each function is a parameter's ``shell_complete``. It answers within a second or not at all, and
errors are ignored, because they would disturb the line being typed.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from wsctl.text import printable

PATIENCE_S = 0.8
"""For all requests of one completion; with the program's start less than a second."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Limit of one answer; a page of 1,000 rows is smaller."""
MAX_SHOWN = 100
_MAX_PAGES, _PAGE = 5, 1000
_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@|+-]{1,128}", re.ASCII)
_HELP_LENGTH = 60

Offer = tuple[str, str | None]
"""A value, and a help text that some shells show beside it."""
Offers = Callable[["Server", click.Context], Iterable[Offer]]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

ROLES = ("user", "manager", "admin", "service")
TEMPLATES = (
    *("device_status", "device_reconnect", "risk_alert", "ai_status", "message_status"),
    *("human_takeover", "cost_warning", "budget_exceeded", "usage_report", "maintenance"),
    *("feature_update", "security_alert", "task_overdue", "chat_message"),
    *("missed_call", "conversation_waiting", "answer_stalled"),
)
ACTIONS = (
    *("broadcast", "publish", "batch", "disconnect", "drain", "members", "revoke"),
    *("answer", "answer_cancel", "retry_account"),
    *("contacts", "preferences", "notify", "retry_notification", "cancel_notification"),
    *("retry_webhooks", "record", "record_stop", "chaos", "chaos_end", "session", "holder"),
    *("edit_message", "delete_message", "erase", "export_user_data"),
    *("retry_account", "delete_file"),
    *("create_task", "update_task", "set_quota", "delete_quota", "report_usage"),
)
PUSH_TYPES = (
    *("announcement", "new_message", "typing", "message_status_update"),
    *("ai_processing_status", "user_status_update"),
)
EVENTS = (
    *("user_connected", "user_disconnected", "session_joined", "session_left"),
    *("message_received", "message_published", "message_delivered", "typing_status_changed"),
    *("notification_sent", "notification_failed", "alert_raised", "alert_cleared"),
    *("holder_changed", "session_state_changed", "session_updated", "answer_ended"),
    *("recording_started", "recording_ended", "chaos_changed"),
    *("account_status_changed", "account_message_sent"),
    *("task_updated", "task_overdue", "quota_crossed", "rule_fired", "file_uploaded"),
    *("call_started", "call_answered", "call_ended"),
    *("event", "stats_update", "user_status_update", "message_status_update"),
)


class Server:
    """Client of the server that the incomplete command line names; one deadline for all answers."""

    def __init__(self, ctx: click.Context) -> None:
        from wsctl.cli.environment import Environment
        from wsctl.http.client import Client

        # click has parsed the options of the incomplete line and run no command.
        environment = ctx.find_object(Environment) or Environment()
        if environment.token_file is not None:  # the shell has not expanded ~ yet
            environment.token_file = environment.token_file.expanduser()
        self._client = Client(environment.target, limit_bytes=MAX_ANSWER_BYTES)
        self._deadline = time.monotonic() + PATIENCE_S

    def get(self, path: str, **query: Any) -> Any:
        """One answer; raises if it is late."""
        left = max(0.0, self._deadline - time.monotonic())
        return self._client.get(path, query, patience_s=left)

    def rows(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """The rows of a list, up to 5,000."""
        cursor = None
        for _ in range(_MAX_PAGES):
            page = self.get(path, **query, limit=_PAGE, cursor=cursor)
            yield from page[key]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def from_server(offers: Offers) -> Completer:
    """A completer of values from the server; empty if it does not answer."""

    def complete(
        ctx: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        found: dict[str, CompletionItem[str]] = {}
        # No error may disturb the line being typed.
        with contextlib.suppress(Exception), contextlib.closing(Server(ctx)) as server:
            for value, said in offers(server, ctx):
                if value.startswith(incomplete) and _ID.fullmatch(value) and value not in found:
                    found[value] = _item(value, said)
                if len(found) >= MAX_SHOWN:
                    break
        return list(found.values())

    return complete


def one_of(*values: str) -> Completer:
    """A completer of fixed values; others may be typed."""

    def complete(
        _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [CompletionItem(value) for value in values if value.startswith(incomplete)]

    return complete


def listed(completer: Completer) -> Completer:
    """A completer of the last name in a comma-separated list."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        before, comma, last = incomplete.rpartition(",")
        given = set(before.split(","))
        return [
            CompletionItem(before + comma + item.value, help=item.help)
            for item in completer(ctx, param, last)
            if item.value not in given
        ]

    return complete


def contexts(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The saved servers."""
    with contextlib.suppress(Exception):
        from wsctl.config.contexts import Contexts

        return [
            _item(name, server.url)
            for name, server in sorted(Contexts().servers.items())
            if name.startswith(incomplete)
        ]
    return []


def _item(value: str, said: str | None) -> CompletionItem[str]:
    text = printable(" ".join((said or "").split()))[:_HELP_LENGTH]
    return CompletionItem(value, help=text or None)


def _name(row: dict[str, Any]) -> str | None:
    name = (row.get("metadata") or {}).get("username")
    return name if isinstance(name, str) else None


def _users(server: Server, _: click.Context) -> Iterator[Offer]:
    for row in server.rows("/online-users", "users"):
        yield row["user_id"], _name(row)


def _sessions(server: Server, _: click.Context) -> Iterator[Offer]:
    for row in server.rows("/sessions", "sessions"):
        names = (user.get("username") or user.get("user_id") for user in row.get("users") or ())
        yield row["session_id"], ", ".join(map(str, names))


def _connections(server: Server, ctx: click.Context) -> Iterator[Offer]:
    # While an option lacks its value, click does not assign arguments: they are in ``args``.
    user = ctx.params.get("user") or next(iter(ctx.args), None)
    for row in server.rows("/connections", "connections", user_id=user):
        yield row["connection_id"], " ".join(filter(None, (row["user_id"], _name(row))))


def _organizations(server: Server, _: click.Context) -> Iterator[Offer]:
    for row in server.rows("/connections", "connections"):
        if organization := row["metadata"].get("organization_id"):
            yield organization, None


def _nodes(server: Server, _: click.Context) -> Iterator[Offer]:
    for row in server.get("/nodes")["nodes"]:
        yield row["node"], row["state"]


def _actors(server: Server, _: click.Context) -> Iterator[Offer]:
    for entry in server.get("/audit", limit=_PAGE)["entries"]:
        yield entry["actor"], entry["role"]


def _messages(server: Server, _: click.Context) -> Iterator[Offer]:
    """Messages of operators and backends, from the audit trail; there is no list of all."""
    for entry in server.get("/audit", limit=_PAGE)["entries"]:
        if message_id := entry["detail"].get("message_id"):
            yield message_id, f"{entry['detail'].get('type')} to {entry['target']}"


def notifications(state: str | None = None) -> Completer:
    """A completer of the latest notifications, or of those with a delivery in ``state``."""

    def latest(server: Server, _: click.Context) -> Iterator[Offer]:
        answer = server.get("/notifications", limit=MAX_SHOWN, state=state)
        for row in answer["notifications"]:
            yield row["notification_id"], row["title"]

    return from_server(latest)


def webhook_deliveries(state: str | None = None) -> Completer:
    """A completer of undelivered webhook events, or of those in ``state``."""

    def latest(server: Server, _: click.Context) -> Iterator[Offer]:
        answer = server.get("/webhooks/deliveries", limit=MAX_SHOWN, state=state)
        for row in answer["deliveries"]:
            yield row["delivery_id"], f"{row['event']} to {row['host']}"

    return from_server(latest)


users = from_server(_users)
sessions = from_server(_sessions)
connections = from_server(_connections)
organizations = from_server(_organizations)
nodes = from_server(_nodes)
actors = from_server(_actors)
messages = from_server(_messages)
roles = one_of(*ROLES)
templates = one_of(*TEMPLATES)
actions = one_of(*ACTIONS)
push_types = one_of(*PUSH_TYPES)
events = one_of(*EVENTS)
