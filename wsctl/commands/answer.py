"""``wsctl answer``: how an answer that grows came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.formatting import plain, plural
from wsctl.http.client import member, path_part
from wsctl.output.writer import Column, to_json
from wsctl.times import clock_time, epoch, readable

_STORY = [
    Column("TIME", "at", clock_time),
    Column("AFTER", "after", right=True),
    Column("USER", "user_id"),
    Column("WHAT", "what"),
]
_GROWING = "growing"


@command()
@click.argument("message_id", shell_complete=completion.messages)
@pass_environment
def answer(environment: Environment, message_id: str) -> None:
    """Show how an answer that grows came about.

    When it began and had its first text, when it stood still, who watched it and who left, who
    stopped it and how it ended.

    Examples:
    wsctl answer msg_01hk153x00h9v3t7n2c4d
    wsctl answer msg_01hk153x00h9v3t7n2c4d -o json
    """
    document = environment.client.get(f"/answers/{path_part(message_id)}")
    output = environment.output
    if not output.is_table:
        output.record(document)
        return
    output.line(_headline(document), indent=10, bold=True)
    output.line(f"text      {_size(document)}", indent=10)
    if document.get("usage"):
        output.line(f"usage     {to_json(document['usage'])}", indent=10)
    output.rows(_STORY, story(document), empty="nothing is known about it")


def story(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What happened to an answer, by time."""
    started = epoch(document.get("started_at"))
    rows = sorted(_happenings(document), key=lambda row: epoch(row["at"]) or 0.0)
    for row in rows:
        at = epoch(row["at"])
        row["after"] = "" if at is None or started is None else f"+{readable(max(0, at - started))}"
    return rows


def _happenings(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"at": document.get("started_at"), "user_id": "", "what": "begins"}
    if document.get("first_text_at"):
        yield {"at": document["first_text_at"], "user_id": "", "what": "first text"}
    for stall in member(document, "stalls", list):
        what = f"no text for {readable(stall['ms'] / 1000)}"
        yield {"at": stall["at"], "user_id": "", "what": what}
    for watch in member(document, "watchers", list):
        yield {"at": watch["from"], "user_id": watch["user_id"], "what": "watches"}
        if watch.get("until"):
            yield {"at": watch["until"], "user_id": watch["user_id"], "what": "leaves"}
    if document.get("ended_at"):
        reason = f": {document['reason']}" if document.get("reason") else ""
        who = document.get("ended_by") or "(server)"
        yield {"at": document["ended_at"], "user_id": who, "what": f"{document['state']}{reason}"}


def _headline(document: Mapping[str, Any]) -> str:
    state = "still growing" if document["state"] == _GROWING else document["state"]
    return f"{document['message_id']}  answer in session {document['session_id']}: {state}"


def _size(document: Mapping[str, Any]) -> str:
    appends = plural(document["seq"], "append")
    rate = document.get("rate")
    speed = "" if rate is None else f", {plain(float(rate))} characters a second"
    return f"{plural(document['length'], 'character')} in {appends}{speed}"
