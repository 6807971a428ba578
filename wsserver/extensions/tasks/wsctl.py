"""``wsctl tasks``: list, show, create and change tasks."""

from __future__ import annotations

import time
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option, organization_option, role_option, session_option
from wsctl.formatting import plain
from wsctl.http.client import path_part
from wsctl.output.writer import Column
from wsctl.times import Duration, Moment, clock_time, rfc3339

STATES = ("pending", "running", "waiting", "done", "failed", "cancelled")


def _progress(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else ""


_TASKS = [
    Column("TASK", "task_id", is_id=True),
    Column("STATE", "state"),
    Column("PROGRESS", "progress", _progress, right=True),
    Column("TITLE", "title"),
    Column("USER", "assignee.user"),
    Column("ROLE", "assignee.role"),
    Column("DUE", "due_at", lambda value: clock_time(value) if value else ""),
    Column("OVERDUE", "overdue", lambda value: "yes" if value else "", is_detail=True),
]

_state_option = click.option(
    "--state", type=click.Choice(STATES), metavar="STATE", help=f"One of {', '.join(STATES)}."
)


@group(
    table={
        "show": "wsserver.extensions.tasks.wsctl:show",
        "create": "wsserver.extensions.tasks.wsctl:create",
        "update": "wsserver.extensions.tasks.wsctl:update",
    },
    invoke_without_command=True,
)
@_state_option
@click.option(
    "--user", metavar="U", shell_complete=completion.users, help="Only tasks of this user."
)
@role_option("Only tasks of everybody with this role.")
@session_option("Only tasks of this session.")
@organization_option("Only tasks of this organization.")
@click.option("--overdue", is_flag=True, help="Only open tasks past their time.")
@limit_option(100)
@pass_environment
@click.pass_context
def tasks(
    ctx: click.Context,
    environment: Environment,
    state: str | None,
    user: str | None,
    role: str | None,
    session: str | None,
    organization: str | None,
    overdue: bool,
    limit: int,
) -> None:
    """List the tasks, newest first.

    Examples:
    wsctl tasks
    wsctl tasks --overdue
    wsctl tasks --user alice --state running -o json
    wsctl tasks show task_01hk153x00h9v3t7n2c4
    """
    if ctx.invoked_subcommand is not None:
        return
    query = {
        "state": state,
        "assignee": user,
        "role": role,
        "session_id": session,
        "organization_id": organization,
        "overdue": "true" if overdue else None,
    }
    found = list(environment.client.pages("/tasks", "tasks", query, limit))
    environment.output.rows(_TASKS, found, empty="no tasks")


@command()
@click.argument("task_id")
@pass_environment
def show(environment: Environment, task_id: str) -> None:
    """Show a task with its steps and its history.

    Examples:
    wsctl tasks show task_01hk153x00h9v3t7n2c4
    wsctl tasks show task_01hk153x00h9v3t7n2c4 -o json
    """
    task = environment.client.get(f"/tasks/{path_part(task_id)}")
    output = environment.output
    if not output.is_table:
        output.record(task)
        return
    output.line(f"{task['task_id']}  {task['title']}")
    output.line(f"{task['state']}, {_progress(task['progress'])}, version {task['version']}")
    overdue = " (overdue)" if task["overdue"] else ""
    for name, value in (
        ("assignee", _assignee(task)),
        ("session", task["session_id"]),
        ("organization", task["organization_id"]),
        ("due", task["due_at"] and f"{clock_time(task['due_at'])}{overdue}"),
    ):
        if value:
            output.line(f"{name}: {value}")
    for number, step in enumerate(task["steps"]):
        is_done = number < task["step"] or task["state"] == "done"
        output.line(f"[{'x' if is_done else ' '}] {number} {step['title']}", indent=6)
    for record in task["history"]:
        output.line(_told(record), indent=10)


def _told(record: dict[str, Any]) -> str:
    """An entry of the history on one line."""
    changes = [f"{name} {plain(value)}" for name, value in record["changed"].items()]
    if record["note"]:
        changes.append(f"note: {record['note']}")
    by = record["by"] or "the server"
    what = ", ".join(changes) or "created"
    return f"{clock_time(record['at'])}  {record['version']}  {by}: {what}"


def _assignee(task: dict[str, Any]) -> str:
    assignee = task["assignee"] or {}
    return assignee.get("user") or (f"role {assignee['role']}" if assignee.get("role") else "")


@command()
@click.argument("title")
@click.option("--step", "steps", multiple=True, metavar="TEXT", help="A step; repeat it for each.")
@click.option("--user", metavar="U", shell_complete=completion.users, help="Who has to do it.")
@role_option("Everybody with this role has to do it.")
@session_option("The session that it is about.")
@organization_option("The organization that it belongs to. Default: that of the user.")
@click.option("--due", type=Moment(), metavar="TIME", help="When it is due, as 2030-01-15.")
@click.option("--due-in", type=Duration(), metavar="D", help="The same from now on, as 2d.")
@pass_environment
def create(
    environment: Environment,
    title: str,
    steps: tuple[str, ...],
    user: str | None,
    role: str | None,
    session: str | None,
    organization: str | None,
    due: float | None,
    due_in: float | None,
) -> None:
    """Create a task.

    Examples:
    wsctl tasks create "Onboard Acme" --step Call --user alice --due-in 2d
    wsctl tasks create "Check the accounts" --role manager --organization org_1
    """
    if user is not None and role is not None:
        raise click.UsageError("--user and --role exclude each other.")
    if due is not None and due_in is not None:
        raise click.UsageError("--due and --due-in exclude each other.")
    if due_in is not None:
        due = time.time() + due_in
    assignee = {"user": user} if user else {"role": role} if role else None
    body = {
        "title": title,
        "steps": [{"title": step} for step in steps],
        "assignee": assignee,
        "session_id": session,
        "organization_id": organization,
        "due_at": None if due is None else rfc3339(due),
    }
    given = {name: value for name, value in body.items() if value is not None}
    task = environment.client.post("/tasks", given)
    environment.output.document(task, f"{task['task_id']} created")


@command()
@click.argument("task_id")
@_state_option
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="The current step, from 0.")
@click.option(
    "--progress", type=click.FloatRange(0, 1), metavar="SHARE", help="A number from 0 to 1."
)
@click.option("--note", metavar="TEXT", help="A note for the history.")
@click.option(
    "--expected-version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refuse the change if the task has another version.",
)
@pass_environment
def update(
    environment: Environment,
    task_id: str,
    state: str | None,
    step: int | None,
    progress: float | None,
    note: str | None,
    expected_version: int | None,
) -> None:
    """Change the state, step or progress of a task, or add a note.

    Examples:
    wsctl tasks update task_01hk153x00h9v3t7n2c4 --state running
    wsctl tasks update task_01hk153x00h9v3t7n2c4 --step 1 --note called
    """
    body = {
        "state": state,
        "step": step,
        "progress": progress,
        "note": note,
        "expected_version": expected_version,
    }
    given = {name: value for name, value in body.items() if value is not None}
    if not given:
        raise click.UsageError("Nothing to change: give --state, --step, --progress or --note.")
    task = environment.client.patch(f"/tasks/{path_part(task_id)}", given)
    shown = f"{task['state']}, {_progress(task['progress'])}, version {task['version']}"
    environment.output.document(task, f"{task_id}: {shown}")
