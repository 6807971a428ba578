"""Root command group and the table of commands."""

from __future__ import annotations

import click

from wsctl.cli.click_base import RootGroup
from wsctl.cli.environment import Environment

COMMANDS = {
    "stats": "wsctl.commands.stats:stats",
    "health": "wsctl.commands.health:health",
    "online": "wsctl.commands.connections:online",
    "connections": "wsctl.commands.connections:connections",
    "sessions": "wsctl.commands.connections:sessions",
    "nodes": "wsctl.commands.nodes:nodes",
    "drain": "wsctl.commands.drain:drain",
    "user": "wsctl.commands.user:user",
    "session": "wsctl.commands.session:session",
    "conversations": "wsctl.commands.conversations:conversations",
    "why-unread": "wsctl.commands.conversations:why_unread",
    "top": "wsctl.commands.top:top",
    "monitor": "wsctl.commands.monitor:monitor",
    "record": "wsctl.commands.record:record",
    "replay": "wsctl.commands.replay:replay",
    "chaos": "wsctl.commands.chaos:chaos",
    "ping": "wsctl.commands.ping:ping",
    "broadcast": "wsctl.commands.publish:broadcast",
    "send": "wsctl.commands.publish:send",
    "trace": "wsctl.commands.messages:trace",
    "answer": "wsctl.commands.answer:answer",
    "explain": "wsctl.commands.messages:explain",
    "history": "wsctl.commands.messages:history",
    "search": "wsctl.commands.search:search",
    "notify": "wsctl.commands.notify:notify",
    "notifications": "wsctl.commands.notify:notifications",
    "webhooks": "wsctl.commands.webhooks:webhooks",
    "disconnect": "wsctl.commands.disconnect:disconnect",
    "console": "wsctl.commands.console:console",
    "doctor": "wsctl.commands.doctor:doctor",
    "bench": "wsctl.commands.bench:bench",
    "take": "wsctl.commands.session:take",
    "release": "wsctl.commands.session:release",
    "members": "wsctl.commands.members:members",
    "contacts": "wsctl.commands.contacts:contacts",
    "preferences": "wsctl.commands.preferences:preferences",
    "tasks": "wsserver.extensions.tasks.wsctl:tasks",
    "accounts": "wsserver.extensions.accounts.wsctl:accounts",
    "files": "wsserver.extensions.files.wsctl:files",
    "quota": "wsserver.extensions.quotas.wsctl:quota",
    "usage": "wsserver.extensions.quotas.wsctl:usage",
    "rules": "wsserver.extensions.rules.wsctl:rules",
    "erase": "wsctl.commands.erase:erase",
    "audit": "wsctl.commands.audit:audit",
    "export": "wsctl.commands.export:export",
    "token": "wsctl.commands.token:token",
    "context": "wsctl.commands.context:context",
    "completion": "wsctl.commands.completion:completion",
}
"""Name → ``module:attribute``; a new command is one line here and one file.

Those of built-in extensions are in their packages.
"""

EXAMPLES = """
wsctl stats --watch
wsctl --url https://ws.example.com --token-file ~/.ws-token health
wsctl connections --user u1 -o json --context prod
"""


@click.group(
    cls=RootGroup,
    table=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.pass_context
def wsctl(ctx: click.Context) -> None:
    """Operate a wsserver: watch it, send messages, manage users and tokens.

    Without --url, WSCTL_URL or a context, a development server's own files in ./var are used,
    else http://127.0.0.1:8765. The options below may also follow the command.

    Exit codes: 0 done, 1 failed, 2 usage, 3 server unreachable, 4 not permitted, 75 another export
    is running, 130 interrupted.
    """
    ctx.ensure_object(Environment)
