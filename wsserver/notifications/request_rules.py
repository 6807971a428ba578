"""What the types of a notification request do not say: which of its members go together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from wsserver.errors import ValidationFailed
from wsserver.notifications import parameters
from wsserver.notifications.recipients import KINDS, kind_faults
from wsserver.notifications.templates import one_line
from wsserver.protocol.notifications import ChannelName, NotifyRequest
from wsserver.protocol.validation import Fault, gather

_TEXT = ("title", "message", "type", "action_url", "auto_close")


def notify_faults(request: NotifyRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Everything that is wrong; of the members in ``bad``, only that they were given is known."""
    given = {
        name
        for name in request.__struct_fields__
        if name in bad or getattr(request, name) not in (None, False)
    }
    faults = kind_faults([name for name in KINDS if name in given])
    if "template" in given:
        text = [n for n in _TEXT if n in bad or getattr(request, n) is not None]
        faults += _each(text, "not together with template")
        if request.template is not None and "params" not in bad:
            template, params = request.template, request.params or {}
            faults += gather(lambda: parameters.check(template, params))
    else:
        if "params" in bad or request.params is not None:
            faults += _each(["params"], "only together with template")
        empty = [n for n in ("title", "message") if n not in bad and not _says(request, n)]
        faults += _each(empty, "required")
    if request.escalate is not None:
        steps = [(step.after_s, step.channel) for step in request.escalate]
        faults += gather(lambda: check_escalation(steps, request.expires_in_s))
    return faults


def check_escalation(steps: Iterable[tuple[float, ChannelName]], lifetime_s: float | None) -> None:
    """Raise ``ValidationFailed`` for steps that come after the notification has expired."""
    late = [i for i, (after_s, _) in enumerate(steps) if lifetime_s and after_s >= lifetime_s]
    if late:
        message = f"comes after the notification has expired, which is {lifetime_s:g} s after it"
        raise ValidationFailed(_each([f"escalate[{index}].after_s" for index in late], message))


def _says(request: NotifyRequest, name: str) -> bool:
    value: str | None = getattr(request, name)
    return value is not None and bool(one_line(value))


def _each(names: Sequence[str], message: str) -> list[Fault]:
    return [{"field": name, "message": message} for name in names]
