"""The extension ``responders``: everything that it adds to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wsserver.extending import ConsolePage, Extension, ExtensionContext, Job, Part
from wsserver.extensions.responders.options import ResponderOptions, check_options
from wsserver.extensions.responders.routes import READ, RESOURCE
from wsserver.extensions.responders.service import Responders
from wsserver.extensions.responders.store import (
    LEASE_S,
    MIGRATIONS,
    USER_TABLES,
    TurnStore,
    note_answer,
)

LOOK_INTERVAL_S = 2.0
PRUNE_INTERVAL_S = 3600.0


def build(context: ExtensionContext[dict[str, ResponderOptions]]) -> Part:
    """Connect the parts of the extension; without a responder there is nothing to do."""
    responders = Responders(context, TurnStore(context.database))
    if not context.options:
        return Part(service=responders)
    return Part(
        service=responders,
        jobs=(
            Job(name="look", period_s=LOOK_INTERVAL_S, work=responders.look, for_all=False),
            Job(name="renew", period_s=LEASE_S / 3, work=responders.renew, for_all=False),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=responders.prune),
        ),
        stop=responders.stop,
    )


RESPONDERS: Final = Extension(
    name="responders",
    build=build,
    options=dict[str, ResponderOptions],
    check_options=check_options,
    migrations=MIGRATIONS,
    permissions={READ: ("admin", "service")},
    resources=(RESOURCE,),
    pages=(
        ConsolePage(
            name="responders",
            title=("AI responders", "AI 应答器"),
            module=Path(__file__).parent / "console" / "responders.js",
            permission=READ,
            is_unconfined=True,
        ),
    ),
    user_tables=USER_TABLES,
    note_answer=note_answer,
)
