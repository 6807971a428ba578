"""The extension ``rules``: everything that it adds to the server."""

from __future__ import annotations

from typing import Final

from wsserver.extending import Extension, ExtensionContext, Job, Part, TemplateFiles
from wsserver.extensions.rules.options import Rule, check_options
from wsserver.extensions.rules.routes import RESOURCE
from wsserver.extensions.rules.service import Rules
from wsserver.extensions.rules.store import MIGRATIONS, RuleStore
from wsserver.extensions.rules.watch import (
    ANSWER_STALLED,
    CONVERSATION_WAITING,
    RULE_FIRED,
    AnswerStalled,
    ConversationWaiting,
    RuleWatch,
)

LOOK_INTERVAL_S = 1.0
SWEEP_INTERVAL_S = 300.0
PRUNE_INTERVAL_S = 3600.0


def build(context: ExtensionContext[dict[str, Rule]]) -> Part:
    """Connect the parts of the extension; without a rule there is nothing to watch."""
    store = RuleStore(context.database)
    rules = Rules(context, store)
    if not context.options:
        return Part(service=rules)
    watch = RuleWatch(context, store)

    async def prune() -> None:
        await store.prune(context.clock.wall())

    return Part(
        service=rules,
        jobs=(
            Job(name="note", period_s=LOOK_INTERVAL_S, work=watch.note, for_all=False),
            Job(name="look", period_s=LOOK_INTERVAL_S, work=watch.look),
            Job(name="sweep", period_s=SWEEP_INTERVAL_S, work=watch.sweep),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=prune),
        ),
        start=watch.sweep,
        stop=watch.note,
    )


RULES: Final = Extension(
    name="rules",
    build=build,
    options=dict[str, Rule],
    check_options=check_options,
    migrations=MIGRATIONS,
    resources=(RESOURCE,),
    events=(RULE_FIRED,),
    templates=TemplateFiles(
        "wsserver.extensions.rules",
        {CONVERSATION_WAITING: ConversationWaiting, ANSWER_STALLED: AnswerStalled},
    ),
)
