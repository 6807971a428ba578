"""``wsctl trace``, ``explain`` and ``history``: deliveries of a message, and kept messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wsctl import client_report
from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import (
    exclude_option,
    limit_option,
    organization_option,
    role_option,
    session_option,
    user_option,
)
from wsctl.formatting import plural
from wsctl.http.client import member, path_part
from wsctl.output.writer import Column, to_json
from wsctl.times import Moment, clock_time, day_time, epoch, rfc3339

PAGE = 1000
"""Largest page of the API."""

_TIMELINE = [
    Column("TIME", "at", clock_time),
    Column("AFTER", "after", right=True),
    Column("USER", "user_id"),
    Column("CONNECTION", "connection_id", is_detail=True, is_id=True),
    Column("WHAT", "what"),
]
_EXPLANATION = [
    Column("USER", "user_id"),
    Column("CONNECTION", "connection_id", is_detail=True, is_id=True),
    Column("WOULD RECEIVE", "gets"),
    Column("WHY NOT", "reason"),
]
_HISTORY = [
    Column("OFFSET", "offset", str, right=True),
    Column("TIME", "timestamp", day_time, is_id=True),
    Column("FROM", "sender"),
    Column("MESSAGE", "text"),
]


@command()
@click.argument("message_id", shell_complete=completion.messages)
@click.option(
    "--with",
    "reports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Also what a client recorded: its report() as JSON; repeatable.",
)
@pass_environment
def trace(environment: Environment, message_id: str, reports: tuple[Path, ...]) -> None:
    """Show the recipients of a message and its delivery states.

    Traces of live messages are available for some minutes (trace_retention_s), of kept messages
    for as long as they are kept.

    Examples:
    wsctl trace msg_01hk153x00h9v3t7n2c4d
    wsctl trace msg_01hk153x00h9v3t7n2c4d -o json
    wsctl trace msg_01hk153x00h9v3t7n2c4d --with report.json
    """
    clients = [_read_report(path) for path in reports]
    document = environment.client.get(f"/messages/{path_part(message_id)}")
    output = environment.output
    accepted = epoch(document.get("accepted_at"))
    recorded = [client_report.rows(client, message_id, accepted) for client in clients]
    if not output.is_table:
        merged = {"clients": [row for rows in recorded for row in rows]} if clients else {}
        output.record({**document, **merged})
        return
    output.line(_headline(document), indent=10, bold=True)
    output.line(f"accepted  {_when(document.get('accepted_at'))}{_from(document)}", indent=10)
    if document.get("stream"):
        output.line(
            f"kept in   {document['stream']}, offset {document['offset']} of {document['epoch']}",
            indent=10,
        )
    for client in clients:
        output.line(f"client    {client_report.heading(client)}", indent=10)
    timeline = _timeline(document, [row for rows in recorded for row in rows])
    output.rows(_TIMELINE, timeline, empty="no recipients")
    output.line(_summary(document))


def _read_report(path: Path) -> client_report.ClientReport:
    try:
        with path.open("rb") as file:
            text = file.read(client_report.LARGEST_BYTES + 1)
        if len(text) > client_report.LARGEST_BYTES:
            raise client_report.ReportError("it is too large")
        return client_report.parse_report(text.decode("utf-8-sig", errors="replace"))
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}") from None
    except client_report.ReportError as error:
        raise click.BadParameter(f"{path} is no report of a client: {error}") from None


def _headline(document: Mapping[str, Any]) -> str:
    target = document.get("target") or {}
    if target.get("id"):
        where = f"{target.get('type')} {target.get('id')}"
    else:
        organization, role = document.get("organization_id"), document.get("role")
        within = f" of organization {organization}" if organization else ""
        where = f"all users{within}{f' with role {role}' if role else ''}"
    return f"{document['message_id']}  {document.get('type')} ({document.get('class')}) to {where}"


def _from(document: Mapping[str, Any]) -> str:
    origin = document.get("accepted_from")
    if not isinstance(origin, dict):
        return ""
    who = origin.get("user_id") or "the server itself"
    role = f" ({origin['role']})" if origin.get("role") else ""
    via = f" by {origin['via']}" if origin.get("via") else ""
    id_ = f", {origin['id']}" if origin.get("id") else ""
    return f"  from {who}{role}{via}{id_}"


def _when(value: Any) -> str:
    return str(value) if value else "?"


def _timeline(
    document: Mapping[str, Any], recorded: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row for each event of server and clients, by time; those without a time come last."""
    accepted = epoch(document.get("accepted_at"))
    rows: list[dict[str, Any]] = [{**row} for row in recorded]
    for recipient in member(document, "recipients", list):
        who = {key: recipient.get(key) for key in ("user_id", "connection_id")}
        steps = recipient.get("history") or [{"state": recipient.get("state")}]
        for step in steps:
            is_last = step is steps[-1]
            reason = recipient.get("reason") if is_last else None
            what = f"{step['state']}: {reason}" if reason else str(step["state"])
            rows.append({**who, "at": step.get("at"), "what": what})
    for outside in document.get("outside") or ():
        reason = f": {outside['reason']}" if outside.get("reason") else ""
        what = f"{outside.get('state')} by {outside.get('by')}{reason}"
        who = {"user_id": outside.get("recipient"), "connection_id": None}
        rows.append({**who, "at": outside.get("at"), "what": what})
    for row in rows:
        at = epoch(row["at"])
        row["after"] = "" if at is None or accepted is None else _after(at - accepted)
    return sorted(rows, key=lambda row: (row["at"] is None, epoch(row["at"]) or 0.0))


def _after(seconds: float) -> str:
    return f"{seconds * 1000:+.0f} ms" if abs(seconds) < 10 else f"{seconds:+.0f} s"


def _summary(document: Mapping[str, Any]) -> str:
    summary = {**(document.get("summary") or {})}
    total = summary.pop("total", len(document.get("recipients") or ()))
    parts = [f"{count} {state}" for state, count in summary.items() if count]
    more = "; more than are shown" if document.get("truncated") else ""
    return (
        f"{total} recipient{'' if total == 1 else 's'}"
        + (f": {', '.join(parts)}" if parts else "")
        + more
    )


@command()
@user_option("A message to this user.")
@session_option("A message to this session.")
@organization_option("A message to this organization.")
@role_option("A message to this role.")
@click.option("--broadcast", is_flag=True, help="A message to all users.")
@click.option(
    "--type",
    "type_",
    metavar="T",
    default="announcement",
    help="Type of the push.",
    shell_complete=completion.push_types,
)
@exclude_option("Exclude this user; repeatable.")
@pass_environment
def explain(
    environment: Environment,
    /,
    broadcast: bool,
    type_: str,
    exclude: tuple[str, ...],
    **targets: str | None,
) -> None:
    """Show who would receive a message, without sending it.

    Also who of the target would not, and why.

    Examples:
    wsctl explain --user u1
    wsctl explain --session s1 --type new_message
    wsctl explain --broadcast --exclude u2
    wsctl explain --organization org_123 -o json
    """
    named: dict[str, str | None] = {kind: id_ for kind, id_ in targets.items() if id_ is not None}
    if broadcast:
        named["broadcast"] = None
    if len(named) != 1:
        raise click.UsageError(
            "Give exactly one of --user, --session, --organization, --role and --broadcast."
        )
    ((kind, id_),) = named.items()
    body: dict[str, Any] = {
        "target": {"type": kind} if id_ is None else {"type": kind, "id": id_},
        "type": type_,
    }
    if type_ == "new_message":
        body["content"] = ""
    if exclude:
        body["exclude_users"] = list(exclude)
    show_explanation(environment, environment.client.post("/messages/explain", body, changes=False))


def show_explanation(environment: Environment, answer: Mapping[str, Any]) -> None:
    """Show who would receive a message, and who would not and why."""
    output = environment.output
    if output.format == "json":
        output.record(answer)
        return
    rows = [{**each, "gets": True} for each in member(answer, "recipients", list)]
    rows += [
        {**each, "gets": "later" if each.get("will_be_kept") else False}
        for each in member(answer, "excluded", list)
    ]
    output.rows(_EXPLANATION, rows, empty="no recipients")
    if output.is_table:
        more = "; not all are listed" if answer.get("truncated") else ""
        kept = f", and it would be kept in {answer['stream']}" if answer.get("stream") else ""
        output.note(f"{plural(answer['matched'], 'connection')} would receive it{kept}{more}")


@command()
@click.argument("session", shell_complete=completion.sessions)
@click.option("--before", type=click.IntRange(min=0), metavar="N", help="Only offsets below N.")
@click.option("--after", type=click.IntRange(min=0), metavar="N", help="Only offsets above N.")
@click.option(
    "--since",
    type=Moment(),
    help="Only from this time on: RFC 3339, a date (UTC), a time of day, or an age.",
)
@click.option("--until", type=Moment(), help="Only before this time.")
@limit_option(50)
@pass_environment
def history(environment: Environment, /, session: str, limit: int, **which: Any) -> None:
    """Show the kept messages of a session.

    The last messages, oldest first; or those before or after an offset, or of a time.

    Examples:
    wsctl history s1
    wsctl history s1 --limit 20 --before 400
    wsctl history s1 --after 17 -o json
    wsctl history s1 --since 14:00 --until 14:05
    """
    messages = _pages(environment, session, limit, **which)
    output = environment.output
    if output.format == "json":
        output.data(to_json(messages, indent=2) + "\n")
        return
    rows = [message_row(message) for message in messages] if output.is_table else messages
    output.rows(_HISTORY, rows, empty=f"no kept messages in session {session}")


def _pages(
    environment: Environment,
    session: str,
    limit: int,
    *,
    before: int | None,
    after: int | None,
    since: float | None,
    until: float | None,
) -> list[dict[str, Any]]:
    """Up to ``limit`` messages, ascending."""
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until.")
    times = {
        "since": None if since is None else rfc3339(since),
        "until": None if until is None else rfc3339(until),
    }
    path = f"/sessions/{path_part(session)}/history"
    forward = after is not None and before is None
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        size = min(PAGE, limit - len(found))
        query = {"before": before, "after": after, "limit": size, **times}
        page = environment.client.get(path, query)
        messages: Sequence[dict[str, Any]] = member(page, "messages", list)
        if forward:
            found += messages
        else:
            found[:0] = messages
        if not messages or not page.get("has_more"):
            break
        if forward:
            after = messages[-1]["offset"]
        else:
            before = messages[0]["offset"]
    return found


def message_row(message: Mapping[str, Any]) -> dict[str, Any]:
    """A push of a stream as a row of the table."""
    said = message.get("message")
    if not isinstance(said, dict):
        text = f"[{message.get('type')}] {to_json(message.get('data'))}"
        return {**message, "sender": "", "text": text}
    if said.get("deleted"):
        return {**message, "sender": "", "text": "[deleted]"}
    sender = said.get("sender") or {}
    content, state = said.get("content"), said.get("state")
    text = content if isinstance(content, str) else to_json(content)
    if state not in (None, "completed"):  # an answer that grows, or was broken off
        text = f"{text} [{state}]"
    return {
        "offset": message.get("offset"),
        "timestamp": message.get("timestamp"),
        "sender": sender.get("username") or sender.get("user_id"),
        "text": text,
    }
