"""``wsctl session``, ``take`` and ``release``: a session, and who answers in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.commands.conversations import held_by
from wsctl.http.client import member, path_part
from wsctl.output.writer import Column, Output, to_json
from wsctl.times import Moment, date_time, day_time, rfc3339

_INDENT = 14
_MESSAGES = [
    Column("OFFSET", "offset", str, right=True),
    Column("TIME", "timestamp", day_time, is_id=True),
    Column("FROM", "sender"),
    Column("MESSAGE", "text"),
]


@command()
@click.argument("session", shell_complete=completion.sessions)
@click.option(
    "--at",
    type=Moment(),
    metavar="TIME",
    help="As it was then: RFC 3339, a date (UTC), a time of day, or an age.",
)
@click.option(
    "--messages",
    type=click.IntRange(0, 1000),
    default=10,
    metavar="N",
    help="The last N messages. Default: 10.",
)
@pass_environment
def session(environment: Environment, session: str, at: float | None, messages: int) -> None:
    """Show a session as a conversation.

    Its state and holder, its members and who is in it, how far each has read, and the last
    messages. With --at as it was then: what did they see? Changes and visits are known for 90
    days; edited and deleted messages are shown as they are now. "≥": at least so far.

    Examples:
    wsctl session s1
    wsctl session s1 --at 14:03
    wsctl session s1 --at 2h --messages 50
    """
    path = f"/sessions/{path_part(session)}"
    if at is None:
        found = environment.client.get(path)
    else:
        found = environment.client.get(f"{path}/past", {"at": rfc3339(at)})
    said = _said(environment, path, at, messages)
    if environment.output.is_table:
        _show(environment.output, found, at)
        _show_messages(environment.output, said, messages)
    else:
        environment.output.record({**found, "messages": said})


def _said(
    environment: Environment, path: str, at: float | None, messages: int
) -> list[dict[str, Any]] | None:
    """The last messages; None: the token may not read them."""
    from wsctl.errors import NotPermitted

    if not messages:
        return []
    query = {"limit": messages, "until": None if at is None else rfc3339(at)}
    try:
        found: list[dict[str, Any]] = member(
            environment.client.get(f"{path}/history", query), "messages", list
        )
    except NotPermitted:
        return None
    return found


def _show(output: Output, found: Mapping[str, Any], at: float | None) -> None:
    when = "" if at is None else f"  as of {date_time(found.get('at'))}"
    output.line(f"{found['session_id']}  {found.get('title') or ''}".rstrip() + when, bold=True)
    facts = {
        "state": found.get("state"),
        "holder": f"{held_by(found.get('holder'))}  (term {found.get('term')})",
        "organization": found.get("organization_id") or "that of members and writers",
        "metadata": to_json(found["metadata"]) if found.get("metadata") else None,
        "members": ", ".join(found.get("members") or ()) or "-",
        **(_now(found) if at is None else _then(found)),
        "messages": f"up to offset {found.get('offset')}",
    }
    for name, value in facts.items():
        if value is not None:
            output.line(f"{name:<{_INDENT - 1}} {value}", indent=_INDENT)


def _now(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "here": ", ".join(found.get("active") or ()) or "-",
        "read": _read(
            (each["user_id"], each.get("read_offset"), True)
            for each in found.get("positions") or ()
        ),
        "began": None if found.get("created_at") is None else date_time(found["created_at"]),
    }


def _then(found: Mapping[str, Any]) -> dict[str, Any]:
    present = [
        f"{each['user_id']} (from {day_time(each['since'])}"
        + (f" to {day_time(each['until'])})" if each.get("until") else ")")
        for each in found.get("present") or ()
    ]
    changes = [
        f"{day_time(each['at'])} {each['field']} by {each['by']}"
        for each in (found.get("changes") or ())[-5:]
    ]
    return {
        "was here": ", ".join(present) or "-",
        "had read": _read(
            (each["user_id"], each["read_offset"], each.get("is_exact"))
            for each in found.get("positions") or ()
        ),
        "changes": "; ".join(changes) or "-",
    }


def _read(positions: Iterable[tuple[str, Any, Any]]) -> str:
    shown = [
        f"{user} {'' if is_exact else '≥'}{'-' if offset is None else offset}"
        for user, offset, is_exact in positions
    ]
    return ", ".join(shown) or "-"


def _show_messages(output: Output, said: list[dict[str, Any]] | None, wanted: int) -> None:
    from wsctl.commands.messages import message_row

    if said is None:
        output.note("messages: the token may not read them")
    elif wanted:
        output.line("")
        rows = [message_row(each) for each in said]
        output.rows(_MESSAGES, rows, empty="no messages")


_EXPECTED = click.option(
    "--expected-term",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if the session is in this term.",
)


@command()
@click.argument("session", shell_complete=completion.sessions)
@click.option(
    "--user", metavar="U", help="Who takes it. Default: the token's.",
    shell_complete=completion.users,
)  # fmt: skip
@_EXPECTED
@pass_environment
def take(
    environment: Environment, session: str, user: str | None, expected_term: int | None
) -> None:
    """Let a user answer in a session.

    Instead of the AI or the user who holds it: an answer that grows there ends, and what was begun
    for the former holder is refused by its term.

    Examples:
    wsctl take s1
    wsctl take s1 --user sales --expected-term 3
    """
    if user is None:
        user = str(environment.client.get("/whoami").get("user_id"))
    _hold(environment, session, {"type": "user", "id": user}, expected_term)


@command()
@click.argument("session", shell_complete=completion.sessions)
@click.option("--to", metavar="NAME", help="The AI that holds it then. Default: nobody does.")
@_EXPECTED
@pass_environment
def release(
    environment: Environment, session: str, to: str | None, expected_term: int | None
) -> None:
    """Let nobody, or an AI, answer in a session.

    Whoever holds it now does not answer in it any more.

    Examples:
    wsctl release s1
    wsctl release s1 --to fastgpt --expected-term 4
    """
    holder = None if to is None else {"type": "ai", "id": to}
    _hold(environment, session, holder, expected_term)


def _hold(
    environment: Environment,
    session: str,
    holder: dict[str, str] | None,
    expected_term: int | None,
) -> None:
    body: dict[str, Any] = {"holder": holder}
    if expected_term is not None:
        body["expected_term"] = expected_term
    answer = environment.client.post(f"/sessions/{path_part(session)}/holder", body)
    now = answer.get("holder")
    who = f"{held_by(now)} holds" if now else "nobody holds"
    environment.output.document(answer, f"{who} {session} now, in term {answer.get('term')}")
