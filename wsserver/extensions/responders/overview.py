"""``ResponderOverview``: the responders, their queues and failures, for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsserver.clock import Clock, rfc3339, rfc3339_or_none
from wsserver.errors import NotFound
from wsserver.extensions.responders.options import ResponderOptions
from wsserver.extensions.responders.reply import who_of
from wsserver.extensions.responders.store import TurnStore, Waiting


class ResponderOverview:
    """The responders of the configuration, and what they have to answer on all nodes."""

    def __init__(
        self, options: Mapping[str, ResponderOptions], store: TurnStore, clock: Clock
    ) -> None:
        self._options = options
        self._store = store
        self._clock = clock

    async def listing(self) -> list[dict[str, Any]]:
        """All responders, each with the size of its queue."""
        waiting = await self._store.waiting()
        shown = []
        for name, options in sorted(self._options.items()):
            found = waiting.get(name, Waiting())
            who = who_of(name, options)
            shown.append(
                {
                    "responder": name,
                    "kind": options.kind,
                    "model": options.model,
                    "sender": {"user_id": who.user_id, "username": who.username},
                    "unit": options.usage_unit,
                    "concurrency": options.concurrency,
                    "on_interrupt": options.on_interrupt,
                    "due": found.due,
                    "failing": found.failing,
                    "waiting_since": rfc3339_or_none(found.since),
                }
            )
        return shown

    async def one(self, name: str) -> dict[str, Any]:
        """A responder with its queue and its latest failures. Raises ``NotFound``."""
        if name not in self._options:
            raise NotFound("responder", name)
        (shown,) = [each for each in await self.listing() if each["responder"] == name]
        return {
            **shown,
            "queue": [
                {
                    "session_id": each.session_id,
                    "since": rfc3339(each.due_at),
                    "failures": each.failures,
                    "is_answering": each.is_answering,
                }
                for each in await self._store.queue(name, self._clock.wall())
            ],
            "failures": [
                {**each._asdict(), "at": rfc3339(each.at)}
                for each in await self._store.failures(name)
            ],
        }
