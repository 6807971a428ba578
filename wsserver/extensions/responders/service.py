"""``Responders``: finds what is to be answered, and answers one message at a time in a session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from wsserver.cluster.control import Notice
from wsserver.config.channels import webhook_reach
from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extending.secrets import secret_of
from wsserver.extensions.responders.conversation import Seen, growing_in, seen_in
from wsserver.extensions.responders.options import ResponderOptions
from wsserver.extensions.responders.overview import ResponderOverview
from wsserver.extensions.responders.pieces import Failure
from wsserver.extensions.responders.provider import Outcome, Prompt, Provider
from wsserver.extensions.responders.reply import Reply, Stopped, Who, cancel_answer, who_of
from wsserver.extensions.responders.runs import Run
from wsserver.extensions.responders.store import Claim, TurnStore
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients
from wsserver.protocol.ids import new_id
from wsserver.protocol.targets import session
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability.events import ANSWER_ENDED, MESSAGE_PUBLISHED, Event
from wsserver.realtime.sessions.conversations import HolderChanged
from wsserver.storage.messages.conversations import Conversation

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""Requests for one answer, while nothing of it was shown."""
BACKOFF_S = 1.0
"""Before the second attempt; doubled each time."""
LONGEST_WAIT_S = 30.0
"""A provider whose ``Retry-After`` is longer has failed."""
FAILURES_TO_PENDING = 3
WAITING_LIMIT = 10
"""Sessions that wait for a free place, for each place; more stay in the database meanwhile."""


class TurnDue(Notice, frozen=True):
    """A message is to be answered in a session that some node may be answering already."""

    session_id: str
    due: int
    """Its offset."""


class Responders:
    """AI responders of this node: each session is answered by one node at a time.

    What is to be answered is stored, so that it is answered after a restart, too, and by another
    node if this one is lost.
    """

    def __init__(
        self, context: ExtensionContext[dict[str, ResponderOptions]], store: TurnStore
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._store = store
        self.overview = ResponderOverview(context.options, store, context.clock)
        self._options: Mapping[str, ResponderOptions] = context.options
        self._providers: dict[str, Provider] = {}
        self._who: dict[str, Who] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._runs: dict[str, Run] = {}
        self._waiting: dict[str, int] = {}
        self._is_stopping = False
        reach = webhook_reach(context.settings)
        for name, options in self._options.items():
            http = context.make_http_client(
                reach, timeout_s=options.timeout_s, trace="responder" if options.trace else None
            )
            self._providers[name] = Provider(
                options, secret_of(options, "api_key"), http, context.clock
            )
            self._who[name] = who_of(name, options)
            self._places[name] = asyncio.Semaphore(options.concurrency)
            self._waiting[name] = 0
        if self._options:
            context.events.add_event_handler(MESSAGE_PUBLISHED, self._published)
            context.events.add_event_handler(ANSWER_ENDED, self._ended)
            context.chat.conversations.add_holder_listener(self._holder_changed)
            context.control.add_listener(TurnDue, self._turn_due)
            context.statistics.add_source("responders", self.figures)

    def figures(self) -> dict[str, Any]:
        """Figures of this node: answers that are asked for, and sessions that wait for a place."""
        return {
            "answering": len(self._runs) - sum(self._waiting.values()),
            "waiting": sum(self._waiting.values()),
        }

    # -- what is to be answered

    async def _published(self, event: Event) -> None:
        """A message was published on this node."""
        session_id = event.get("session_id")
        if event["type"] == "new_message" and session_id is not None:
            await self.notice(session_id, event.get("sender"))

    async def notice(self, session_id: str, sender: str | None = None) -> None:
        """Note what is to be answered in a session, if an AI of the configuration holds it."""
        conversation = await self._context.chat.conversations.find(session_id)
        name = self._holder(conversation)
        if name is None or sender == self._who[name].user_id:
            return
        seen = await self._read(session_id, name)
        if seen is None or not seen.due:
            return
        await self._store.note(session_id, name, seen.due, self._clock.wall())
        self._context.control.notify(TurnDue(session_id, seen.due))
        self._begin(session_id)

    async def look(self) -> None:
        """Go on with what a lost node, or this one before its restart, has left."""
        for session_id in await self._store.pending(self._clock.wall()):
            self._begin(session_id)

    async def renew(self) -> None:
        """Renew the leases of the sessions that are being answered here."""
        if self._runs:
            await self._store.renew(list(self._runs), self._clock.wall())

    async def prune(self) -> None:
        """Delete rows of sessions without messages for long."""
        await self._store.prune(self._clock.wall())

    async def stop(self) -> None:
        """End what is being answered; it is answered anew after the restart."""
        self._is_stopping = True
        tasks = [run.task for run in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- interruptions

    def _turn_due(self, notice: TurnDue) -> None:
        run = self._runs.get(notice.session_id)
        if run is None or run.answering is None or notice.due <= run.due:
            return
        if self._options[run.responder].on_interrupt == "restart" and run.interrupt():
            run.is_restarted = True

    def _holder_changed(self, change: HolderChanged) -> None:
        run = self._runs.get(change.session_id)
        if run is not None and run.term < change.term:
            run.interrupt()

    def _ended(self, event: Event) -> None:
        run = self._runs.get(event.get("session_id", ""))
        if run is not None and run.message_id == event.get("message_id"):
            run.interrupt()

    # -- answering

    def _begin(self, session_id: str) -> None:
        """Answer a session, unless this is being done or too many wait already."""
        if session_id in self._runs or self._is_stopping:
            return
        places = sum(options.concurrency for options in self._options.values())
        if len(self._runs) >= places * (1 + WAITING_LIMIT):
            return  # ``look`` finds it
        task = self._context.tasks.spawn(self._run(session_id), name=f"answer {session_id}")
        self._runs[session_id] = Run(task)

    async def _run(self, session_id: str) -> None:
        """Answer what is due in a session, until nothing is."""
        run = self._runs[session_id]
        try:
            while (claim := await self._store.claim(session_id, self._clock.wall())) is not None:
                if claim.responder not in self._options:
                    await self._store.end(session_id, claim.due)
                    return
                await self._answer_in_turn(run, claim)
        except (StorageUnavailable, StorageFull) as error:
            log.warning("answer not begun session_id=%s code=%s", session_id, error.code)
        finally:
            del self._runs[session_id]

    async def _answer_in_turn(self, run: Run, claim: Claim) -> None:
        """Wait for a place of the responder, and answer."""
        name, places = claim.responder, self._places[claim.responder]
        # From here on a newer message may interrupt.
        run.due, run.responder = claim.due, name
        await self._end_former(claim)
        if places.locked():
            self._show(claim.session_id, "queued")
        self._waiting[name] += 1
        try:
            await places.acquire()
        finally:
            self._waiting[name] -= 1
        try:
            run.is_ending = False
            run.answering = asyncio.ensure_future(self._answer(run, claim))
            try:
                await asyncio.wait([run.answering])
            except asyncio.CancelledError:
                run.answering.cancel()
                await asyncio.wait([run.answering])
                raise
            await self._require_success(run, claim, run.answering)
        finally:
            run.answering, run.message_id = None, None
            places.release()
        if run.is_restarted:
            run.is_restarted = False  # what is due is claimed again

    async def _end_former(self, claim: Claim) -> None:
        """End the answer that a lost process had begun, whether it has noted that or not."""
        who = self._who[claim.responder]
        limit = self._options[claim.responder].history
        left = growing_in(await self._context.chat.history(claim.session_id, limit), who.user_id)
        if claim.message_id is not None and claim.message_id not in left:
            left.append(claim.message_id)
        for message_id in left:
            await cancel_answer(self._context.chat.answers, who.actor, message_id, "restart")

    async def _answer(self, run: Run, claim: Claim) -> None:
        session_id, name = claim.session_id, claim.responder
        conversation = await self._context.chat.conversations.find(session_id)
        seen = await self._read(session_id, name, claim.answered)
        if conversation is None or self._holder(conversation) != name or seen is None:
            await self._store.end(session_id, claim.due)  # another holder answers
            return
        run.due, run.term, run.responder = max(claim.due, seen.due), conversation.term, name

        async def begun(message_id: str) -> None:
            run.message_id = message_id
            await self._store.begin(session_id, message_id, run.due)
            self._show(session_id, "streaming", message_id=message_id)

        reply = Reply(self._context.chat.answers, self._who[name], session_id, run.term, begun)
        self._show(session_id, "processing")
        prompt = Prompt(
            session_id,
            new_id("msg", self._clock.wall()),
            seen.user_id,
            seen.ordered(claim.answered),
            seen.since(claim.answered),
            claim.question,
        )
        try:
            outcome = await self._ask(name, prompt, reply)
            run.is_ending = True
            if outcome.failure is None and reply.message_id is None:
                outcome = Outcome(Failure("the answer is empty", is_temporary=False))
            if outcome.failure is None:
                await reply.finish(self._usage(name, reply))
                await self._store.end(session_id, run.due, question=outcome.question)
                self._show(session_id, "completed", message_id=reply.message_id)
            else:
                await reply.fail(outcome.failure.reason, self._usage(name, reply))
                await self._failed(claim, run, conversation, seen, outcome.failure)
        except Stopped:
            await reply.report(self._usage(name, reply))
            await self._store.end(session_id, run.due)
            self._show(session_id, "failed", detail="stopped")
        except asyncio.CancelledError:
            await asyncio.shield(self._interrupted(run, claim, reply))
            raise

    async def _ask(self, name: str, prompt: Prompt, reply: Reply) -> Outcome:
        """Ask the provider, again while nothing was shown and its failure may pass.

        An answer that the server refuses, as for its length or a quota, has failed, too.
        """
        try:
            await self._context.chat.answers.admit(prompt.session_id, self._who[name].user_id)
            return await self._ask_repeatedly(name, prompt, reply)
        except (StorageUnavailable, StorageFull):
            raise
        except WsServerError as error:
            return Outcome(Failure(error.code, is_temporary=False))

    async def _ask_repeatedly(self, name: str, prompt: Prompt, reply: Reply) -> Outcome:
        wait_s = BACKOFF_S
        for attempt in range(1, ATTEMPTS + 1):
            outcome = await self._providers[name].answer(prompt, reply.take)
            failure = outcome.failure
            if failure is None or not failure.is_temporary or reply.message_id is not None:
                return outcome
            pause_s = wait_s if outcome.retry_after_s is None else outcome.retry_after_s
            if attempt == ATTEMPTS or pause_s > LONGEST_WAIT_S:
                return outcome
            log.info("answer delayed responder=%s error=%s", name, failure.reason)
            await asyncio.sleep(pause_s)
            wait_s *= 2
        raise AssertionError("the last attempt returns")

    async def _failed(
        self,
        claim: Claim,
        run: Run,
        conversation: Conversation,
        seen: Seen,
        failure: Failure,
    ) -> None:
        """Count a failure; after three in a row a human is asked for."""
        session_id, name = claim.session_id, claim.responder
        failures = claim.failures + 1
        log.warning(
            "answer failed responder=%s session_id=%s failures=%d error=%s",
            name,
            session_id,
            failures,
            failure.reason,
        )
        self._show(session_id, "failed", detail=failure.reason)
        await self._store.note_failure(name, session_id, failure.reason, self._clock.wall())
        if failures < FAILURES_TO_PENDING:
            await self._store.end(session_id, run.due, failures)
            return
        await self._context.chat.conversations.change(
            session_id, {"state": "pending"}, self._who[name].user_id
        )
        await self._ask_for_human(conversation, seen, failure)
        await self._store.end(session_id, run.due)

    async def _ask_for_human(
        self, conversation: Conversation, seen: Seen, failure: Failure
    ) -> None:
        organization = conversation.organization_id
        if organization is None:
            recipients = Recipients(session_id=conversation.session_id)
        else:
            recipients = Recipients(role="manager")
        parameters = {
            "session_id": conversation.session_id,
            "customer_name": seen.username or seen.user_id,
            "reason": failure.reason,
        }
        try:
            await self._context.notifications.send_template(
                recipients, "human_takeover", parameters, Sending(confined_to=organization)
            )
        except (StorageUnavailable, StorageFull):
            raise
        except WsServerError as error:
            log.warning("no human asked for session_id=%s error=%s", conversation.session_id, error)

    async def _interrupted(self, run: Run, claim: Claim, reply: Reply) -> None:
        """The request was stopped: by a newer message, another holder, or the server's stop."""
        session_id, usage = claim.session_id, self._usage(claim.responder, reply)
        if run.is_restarted or self._is_stopping:
            await reply.cancel("restart" if self._is_stopping else "new_message")
            await reply.report(usage)
            if self._is_stopping:
                await self._store.release(session_id)
            return
        await reply.settle()
        await reply.report(usage)
        await self._store.end(session_id, run.due)
        self._show(session_id, "failed", detail="stopped")

    async def _require_success(self, run: Run, claim: Claim, answering: asyncio.Task[None]) -> None:
        """End what an unexpected error has broken off: asked again, it would happen again."""
        if answering.cancelled() or (error := answering.exception()) is None:
            return
        if isinstance(error, (StorageUnavailable, StorageFull)):
            raise error
        session_id = claim.session_id
        log.error("answer broke off session_id=%s", session_id, exc_info=error)
        if run.message_id is not None:
            actor = self._who[claim.responder].actor
            await cancel_answer(self._context.chat.answers, actor, run.message_id, "error")
        await self._store.end(session_id, max(claim.due, run.due), claim.failures + 1)
        self._show(session_id, "failed", detail="internal error")

    # -- help

    def _holder(self, conversation: Conversation | None) -> str | None:
        """The responder that holds a session."""
        holder = None if conversation is None else conversation.holder
        if holder is None or holder.type != "ai" or holder.id not in self._options:
            return None
        return holder.id

    async def _read(self, session_id: str, name: str, answered: int = 0) -> Seen | None:
        messages = await self._context.chat.history(session_id, self._options[name].history)
        return seen_in(messages, self._who[name].user_id, answered)

    def _usage(self, name: str, reply: Reply) -> dict[str, Any]:
        if not reply.usage:
            return {}
        unit = self._options[name].usage_unit
        amount = reply.usage.get("total_tokens", reply.usage.get(unit))
        known = {} if amount is None else {"amount": amount}
        return {**reply.usage, **known, "unit": unit, "source": name}

    def _show(self, session_id: str, status: str, **details: Any) -> None:
        members = {"session_id": session_id, "status": status}
        members |= {name: value for name, value in details.items() if value is not None}
        self._context.pushes.post(
            Message(
                type="ai_processing_status",
                members=members,
                target=session(session_id),
                is_addressed=False,
            )
        )
