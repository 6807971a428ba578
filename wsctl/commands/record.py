"""``wsctl record``: what goes over the wires of a user or a session, into a file."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import session_option
from wsctl.errors import BadUsage, Failed, NotFound
from wsctl.formatting import plural
from wsctl.times import Duration

KIND = "wsserver-recording"
FORMAT = 1
POLL_S = 1.0


@command()
@click.argument("user", required=False, shell_complete=completion.users)
@session_option("Record a session instead: what its connections say and get there.")
@click.option(
    "--duration",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long; up to 1h. Ctrl-C ends it earlier.",
)
@click.option("--contents", is_flag=True, help="With the texts of messages; needs messages:read.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; - is standard output. Default: a name with the user and the time.",
)
@pass_environment
def record(
    environment: Environment,
    user: str | None,
    session: str | None,
    duration: float,
    contents: bool,
    out: Path | None,
) -> None:
    """Record what goes over the wires of a user, or of a session.

    Commands and pushes of all their connections on all nodes, with their times, also of those that
    open meanwhile. Credentials are left out; texts are masked unless --contents is given. A
    node records at most 20,000 messages and 4 MiB. The file is read by wsctl replay, by
    wsctl trace --with, and by WsReplay of the browser client. Recordings are in the audit trail.
    Needs connections:record.

    Examples:
    wsctl record u1
    wsctl record u1 --duration 5m --contents --out u1.json
    wsctl record --session s1 --out - -q > s1.json
    """
    if (user is None) == (session is None):
        raise click.UsageError("Give either USER or --session.")
    if not 1 <= duration <= 3600:
        raise BadUsage("--duration: 1s to 1h")
    path = out or Path(_name(user or session or ""))
    body = {"user_id": user} if user is not None else {"session_id": session}
    started: dict[str, Any] = environment.client.post(
        "/recordings", {**body, "duration_s": duration, "contents": contents}
    )
    environment.output.note(
        f"recording {plural(started['connected'], 'connection')} of {user or session}"
        f" for {duration:g} s; Ctrl-C ends it"
    )
    found, fault = _gather(environment, started["recording_id"], duration)
    document = {"kind": KIND, "format": FORMAT, **found}
    _write(environment, path, document)
    if found["is_full"]:
        environment.output.note("the recording is full: not everything is in it")
    if fault is not None:
        raise Failed(f"the recording is incomplete: {fault.message}")


def _gather(
    environment: Environment, recording_id: str, duration_s: float
) -> tuple[dict[str, Any], Failed | None]:
    """The whole recording, and what cut it short; it is read while it goes on."""
    path = f"/recordings/{recording_id}"
    found: dict[str, Any] = {"connections": [], "events": [], "is_full": False}
    cursor: str | None = None
    deadline = time.monotonic() + duration_s + 10
    is_over = False
    while True:
        try:
            page = environment.client.get(path, {"limit": 1000, "cursor": cursor})
            cursor = page["next_cursor"]
            found = {**page, "events": [*found["events"], *page["events"]]}
            if not page["has_more"] and (is_over or not page["is_running"]):
                break
            if not page["has_more"]:
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            is_over = True
        except Failed as error:
            if isinstance(error, NotFound) or time.monotonic() > deadline:
                return _ordered(found), error
            time.sleep(POLL_S)
    with contextlib.suppress(Failed):
        environment.client.request("DELETE", path)
    return _ordered(found), None


def _ordered(found: dict[str, Any]) -> dict[str, Any]:
    """The document without what is only of the transfer; events by time."""
    left_out = ("has_more", "is_running", "next_cursor", "unreachable", "events")
    kept = {name: value for name, value in found.items() if name not in left_out}
    return {**kept, "events": sorted(found["events"], key=lambda event: str(event["at"]))}


def _write(environment: Environment, path: Path, document: dict[str, Any]) -> None:
    from wsctl.atomic_file import replace_file
    from wsctl.output.writer import to_json

    text = to_json(document, indent=1) + "\n"
    events, connections = len(document["events"]), len(document["connections"])
    if str(path) == "-":
        environment.output.data(text)
        return
    try:
        with replace_file(path, mode=0o600) as file:
            file.write(text)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror or error}") from None
    environment.output.document(
        {"file": str(path), "events": events, "connections": connections},
        f"{path}: {plural(events, 'event')} of {plural(connections, 'connection')}",
    )


def _name(whose: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._@+-]", "-", whose)[:60]
    return f"recording-{safe}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.json"
