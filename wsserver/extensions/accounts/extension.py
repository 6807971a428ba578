"""The extension ``accounts``: everything that it adds to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wsserver.extending import ConsolePage, Extension, ExtensionContext, Job, Part
from wsserver.extensions.accounts.collector import Collector
from wsserver.extensions.accounts.options import AccountOptions, check_options
from wsserver.extensions.accounts.outgoing import AccountQueue
from wsserver.extensions.accounts.routes import INTAKE, RESOURCE
from wsserver.extensions.accounts.service import ACCOUNT_STATUS, MANAGE, READ, Accounts
from wsserver.extensions.accounts.store import (
    MIGRATIONS,
    USER_TABLES,
    AccountOutbox,
    AccountStore,
    remove_contents,
)
from wsserver.notifications.delivery_queue import LEASE_PERIOD_S

PRUNE_INTERVAL_S = 3600.0


def build(context: ExtensionContext[dict[str, AccountOptions]]) -> Part:
    """Connect the parts of the extension; without an account there is nothing to do."""
    store, outbox = AccountStore(context.database), AccountOutbox(context.database)
    queue = AccountQueue(context, store, outbox)
    collector = Collector(context, store, queue)
    accounts = Accounts(context, store, outbox, collector)
    if not context.options:
        return Part(service=accounts)

    async def start() -> None:
        await queue.start()
        context.tasks.spawn(collector.collect_recent(), name="messages for contacts")

    return Part(
        service=accounts,
        jobs=(
            Job(name="leases", period_s=LEASE_PERIOD_S, work=queue.release, for_all=False),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=accounts.prune),
        ),
        start=start,
        stop=queue.stop,
    )


ACCOUNTS: Final = Extension(
    name="accounts",
    build=build,
    options=dict[str, AccountOptions],
    check_options=check_options,
    migrations=MIGRATIONS,
    user_tables=USER_TABLES,
    remove_contents=remove_contents,
    permissions={READ: ("admin", "service", "manager"), MANAGE: ("admin", "service")},
    resources=(INTAKE, RESOURCE),
    pages=(
        ConsolePage(
            name="accounts",
            title=("Accounts", "账号"),
            module=Path(__file__).parent / "console" / "accounts.js",
            permission=READ,
        ),
    ),
    events=(ACCOUNT_STATUS, "account_message_sent"),
)
