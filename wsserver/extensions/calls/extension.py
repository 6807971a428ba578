"""The extension ``calls``: everything that it adds to the server."""

from __future__ import annotations

from typing import Final

from wsserver.extending import (
    Extension,
    ExtensionContext,
    Job,
    NoOptions,
    Part,
    TemplateFiles,
)
from wsserver.extensions.calls.commands import (
    AnswerCall,
    CallCommands,
    CancelCall,
    DeclineCall,
    EndCall,
    GetIceServers,
    ResumeCall,
    SignalCall,
    StartCall,
)
from wsserver.extensions.calls.connection_events import ConnectionEvents
from wsserver.extensions.calls.devices import Devices
from wsserver.extensions.calls.errors import (
    BadCallState,
    CallBusy,
    NobodyToCall,
    SignalTooLarge,
    TooManyToCall,
)
from wsserver.extensions.calls.model import Limits
from wsserver.extensions.calls.pushes import (
    CALL_INCOMING,
    CALL_SIGNAL,
    CALL_STATE,
    CallEntered,
    CallIncomingPush,
    Calling,
    CallSignalPush,
    CallStatePush,
    IceServersReply,
)
from wsserver.extensions.calls.service import (
    CALL_ANSWERED,
    CALL_ENDED,
    CALL_STARTED,
    MISSED_CALL,
    Calls,
    MissedCall,
)
from wsserver.extensions.calls.store import MIGRATIONS, USER_TABLES, CallStore
from wsserver.extensions.calls.turn import IceServers
from wsserver.web.resources.socket_replies import Ack

LOOK_INTERVAL_S = 1.0
CONFIRM_INTERVAL_S = 30.0
PRUNE_INTERVAL_S = 3600.0
DAY_S = 86_400.0


def build(context: ExtensionContext[NoOptions]) -> Part:
    """Connect the parts of the extension."""
    settings, clock = context.settings, context.clock
    limits = Limits(settings.call_ring_s, settings.call_resume_s)
    store = CallStore(context.database, limits)
    devices = Devices(context.control, limits, clock)
    calls = Calls(context, store, devices, limits)
    ice = IceServers(settings.turn_url, settings.turn_secret, settings.turn_ttl_s)
    commands = CallCommands(calls, devices, ice, context.access, context.pushes.post, clock)
    events = ConnectionEvents(calls, devices, limits, context.chat, context.tasks)
    events.listen(context.events, context.control)

    def learn() -> None:
        context.tasks.spawn(calls.learn_again(), name="open calls")

    context.control.add_gap_listener(learn)

    async def prune() -> None:
        await store.prune(clock.wall() - settings.call_retention_days * DAY_S)

    return Part(
        service=calls,
        handlers=commands.table(),
        jobs=(
            Job(name="look", period_s=LOOK_INTERVAL_S, work=calls.look),
            Job(name="confirm", period_s=CONFIRM_INTERVAL_S, work=calls.confirm, for_all=False),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=prune),
        ),
        erase_user=calls.erase,
        start=calls.start,
    )


CALLS: Final = Extension(
    name="calls",
    build=build,
    migrations=MIGRATIONS,
    user_tables=USER_TABLES,
    errors=(CallBusy, BadCallState, NobodyToCall, TooManyToCall, SignalTooLarge),
    commands={
        "call": StartCall,
        "call_answer": AnswerCall,
        "call_decline": DeclineCall,
        "call_cancel": CancelCall,
        "call_end": EndCall,
        "call_resume": ResumeCall,
        "call_signal": SignalCall,
        "ice_servers": GetIceServers,
    },
    replies={
        "call": ("calling", Calling),
        "call_answer": ("ack", CallEntered),
        "call_decline": ("ack", Ack),
        "call_cancel": ("ack", Ack),
        "call_end": ("ack", Ack),
        "call_resume": ("ack", CallEntered),
        "call_signal": ("ack", Ack),
        "ice_servers": ("ice_servers", IceServersReply),
    },
    pushes={
        CALL_INCOMING: CallIncomingPush,
        CALL_STATE: CallStatePush,
        CALL_SIGNAL: CallSignalPush,
    },
    events=(CALL_STARTED, CALL_ANSWERED, CALL_ENDED),
    templates=TemplateFiles("wsserver.extensions.calls", {MISSED_CALL: MissedCall}),
)
