"""``wsctl files``: list files and unfinished uploads, and delete them."""

from __future__ import annotations

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option, organization_option, session_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.formatting import byte_size
from wsctl.http.client import path_part
from wsctl.output.writer import Column
from wsctl.times import clock_time

_FILES = [
    Column("FILE", "file_id", is_id=True),
    Column("NAME", "filename"),
    Column("SIZE", "bytes", byte_size, right=True),
    Column("USER", "user_id"),
    Column("SESSION", "session_id"),
    Column("COMPLETED", "completed_at", lambda value: clock_time(value) if value else "unfinished"),
    Column("TYPE", "content_type", is_detail=True),
    Column("ORGANIZATION", "organization_id", is_detail=True),
    Column("EXPIRES", "expires_at", clock_time, is_detail=True),
]


@group(table={"delete": "wsserver.extensions.files.wsctl:delete"}, invoke_without_command=True)
@click.option(
    "--user", metavar="U", shell_complete=completion.users, help="Only those that U has uploaded."
)
@session_option("Only those of this session.")
@organization_option("Only those of this organization.")
@limit_option(100)
@pass_environment
@click.pass_context
def files(
    ctx: click.Context,
    environment: Environment,
    user: str | None,
    session: str | None,
    organization: str | None,
    limit: int,
) -> None:
    """List files and unfinished uploads, newest first.

    Examples:
    wsctl files
    wsctl files --user u1 -o json
    wsctl files delete file_01hk153x00h9v3t7n2c4
    """
    if ctx.invoked_subcommand is not None:
        return
    query = {"user_id": user, "session_id": session, "organization_id": organization}
    found = list(environment.client.pages("/files", "files", query, limit))
    environment.output.rows(_FILES, found, empty="no files")


@command()
@click.argument("file_id")
@yes_option
@pass_environment
def delete(environment: Environment, file_id: str, yes: bool) -> None:
    """Delete a file, or an unfinished upload. Messages that have it stay.

    Asks first on a terminal; elsewhere, as in cron, it does not ask.

    Examples:
    wsctl files delete file_01hk153x00h9v3t7n2c4 --yes
    """
    confirm(f"Delete the file {file_id}?", yes=yes, otherwise="nothing was deleted")
    path = f"/files/{path_part(file_id)}"
    environment.client.request("DELETE", path, accept=(204,))
    environment.output.document({"file_id": file_id, "deleted": True}, f"{file_id} is deleted")
