"""Access log: one sampled log record for each HTTP answer, and the request metrics."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from wsserver.web.http.traffic import Traffic

log = logging.getLogger("wsserver.web.access")

_LINE = "request method=%s path=%s status=%d ms=%.1f remote_ip=%s request_id=%s"
QUIET_ROUTES = ("/api/v1/websocket/health", "/metrics")
"""Polled every few seconds by load balancers and Prometheus."""


@dataclass(eq=False, repr=False)
class AccessLog:
    """Logs and counts answers; the query is left out, as it may have a token.

    ``is_on`` False: only answers with status 5xx are logged. ``sample``: logged share of answers
    below 400. Routine answers are logged at debug level only: health checks, scrapes, and
    messages that a backend sends word by word (``Reply.is_routine``).
    """

    traffic: Traffic
    _: KW_ONLY
    is_on: bool = True
    sample: float = 1.0
    draw: Callable[[], float] = random.random
    _forms: dict[int, dict[str, Any]] = field(default_factory=dict, init=False)
    """Members of a record that are the same in all, by level."""

    def answered(
        self,
        method: str,
        route: str,
        path: str,
        status: int,
        seconds: float,
        remote_ip: str,
        request_id: str,
        *,
        is_routine: bool = False,
    ) -> None:
        """Log and count an answer."""
        self.traffic.answer(method, route, status, seconds)
        is_quiet = status < 500 and (is_routine or route in QUIET_ROUTES)
        level = logging.DEBUG if is_quiet else logging.INFO
        if log.isEnabledFor(level) and self._is_wanted(status):
            args = (method, path, status, seconds * 1000, remote_ip, request_id)
            log.handle(self._record(level, args))

    def _is_wanted(self, status: int) -> bool:
        if status >= 500:
            return True
        if not self.is_on:
            return False
        return status >= 400 or self.sample >= 1.0 or self.draw() < self.sample

    def _record(self, level: int, args: tuple[Any, ...]) -> logging.LogRecord:
        """A record as ``log.makeRecord`` makes it.

        What is the same in all, which takes three quarters of the time (names, process, thread), is
        looked up for the first one only, unless records are made by another class.
        """
        form = self._forms.get(level)
        if form is None or logging.getLogRecordFactory() is not logging.LogRecord:
            record = log.makeRecord(log.name, level, __file__, 0, _LINE, args, None)
            self._forms[level] = {**vars(record), "taskName": None}
            return record
        record = logging.LogRecord.__new__(logging.LogRecord)
        created = time.time()
        later_ms = (created - form["created"]) * 1000
        vars(record).update(form)
        record.args = args
        record.created = created
        record.msecs = int(created % 1 * 1000) + 0.0
        record.relativeCreated = form["relativeCreated"] + later_ms
        return record
