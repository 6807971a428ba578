"""What each template is told: its parameters by name and type, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError

from wsserver.errors import ValidationFailed
from wsserver.protocol.types import JsonObject
from wsserver.protocol.validation import describe, one_of

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]
Limit = Annotated[int, Meta(gt=0, le=10**15)] | Annotated[float, Meta(gt=0, le=1e15)]

THRESHOLDS = (80, 95, 100)
"""Percent of a quota at which there is a warning."""


class Parameters(Struct, forbid_unknown_fields=True):
    """The root of all; a field with a default is optional."""


class DeviceStatus(Parameters):
    """A device has gone from one status to another."""

    device_id: Text
    device_name: Text
    old_status: Text
    new_status: Text


class DeviceReconnect(Parameters):
    """A device tries to come back."""

    device_id: Text
    device_name: Text
    attempt: Annotated[int, Meta(ge=1, le=10**9)] | UnsetType = UNSET


class RiskAlert(Parameters):
    """A device has come to the attention of the platform's risk control."""

    device_id: Text
    device_name: Text
    reason: Text


class AiStatus(Parameters):
    """How far the AI has come in a session."""

    session_id: Text
    status: Text
    detail: Text | UnsetType = UNSET


class MessageStatus(Parameters):
    """How far a message has come."""

    session_id: Text
    message_id: Text
    status: Text


class HumanTakeover(Parameters):
    """A customer needs a person."""

    session_id: Text
    customer_name: Text
    reason: Text | UnsetType = UNSET


class CostWarning(Parameters):
    """So much of a quota is used."""

    used: Amount
    quota: Limit
    period: Text
    unit: Text | UnsetType = UNSET


class BudgetExceeded(Parameters):
    """More was spent than planned."""

    used: Amount
    budget: Amount
    period: Text
    currency: Text | UnsetType = UNSET


class UsageReport(Parameters):
    """What was used."""

    period: Text
    used: Amount
    quota: Amount
    unit: Text | UnsetType = UNSET


class Maintenance(Parameters):
    """When the system is worked on."""

    starts_at: Text
    ends_at: Text
    detail: Text | UnsetType = UNSET


class FeatureUpdate(Parameters):
    """What is new."""

    summary: Text
    version: Text | UnsetType = UNSET


class SecurityAlert(Parameters):
    """Something that has to do with somebody's account."""

    event: Text
    detail: Text | UnsetType = UNSET
    ip: Text | UnsetType = UNSET


PARAMETERS: dict[str, type[Parameters]] = {
    "device_status": DeviceStatus,
    "device_reconnect": DeviceReconnect,
    "risk_alert": RiskAlert,
    "ai_status": AiStatus,
    "message_status": MessageStatus,
    "human_takeover": HumanTakeover,
    "cost_warning": CostWarning,
    "budget_exceeded": BudgetExceeded,
    "usage_report": UsageReport,
    "maintenance": Maintenance,
    "feature_update": FeatureUpdate,
    "security_alert": SecurityAlert,
}
"""Every template there is."""

DERIVED: dict[str, tuple[str, ...]] = {
    "cost_warning": ("percent", "threshold"),
    "usage_report": ("percent",),
}
"""What texts may name besides the parameters; it follows from them, or from nothing."""


def required(template: str) -> frozenset[str]:
    """The parameters that a template cannot do without."""
    return frozenset(field.name for field in _fields(template) if field.required)


def known(template: str) -> frozenset[str]:
    """All parameters of a template."""
    return frozenset(field.name for field in _fields(template))


def check(template: str, given: Mapping[str, Any]) -> JsonObject:
    """The parameters as a template takes them, those that were not given left out.

    Raises ``ValidationFailed`` that names every one that is missing, too much or of another type.
    """
    if template not in PARAMETERS:
        message = f"{template[:64]!r} is {one_of(tuple(PARAMETERS))}"
        raise ValidationFailed([{"field": "template", "message": message}])
    faults = [
        *[(name, "required") for name in sorted(required(template) - given.keys())],
        *[
            (name, f"unknown parameter; {template} takes {', '.join(sorted(known(template)))}")
            for name in sorted(given.keys() - known(template))
        ],
    ]
    kind = PARAMETERS[template]
    for name in sorted(known(template) & given.keys()):
        try:
            msgspec.convert({name: given[name]}, _alone(kind, name))
        except ValidationError as error:
            faults.append((name, describe(error).message))
    if faults:
        raise ValidationFailed(
            [{"field": f"params.{name[:100]}", "message": text} for name, text in faults]
        )
    return dict(given)


def derived(template: str, parameters: Mapping[str, Any]) -> JsonObject:
    """What follows from checked parameters, by name."""
    limit = parameters.get("quota", 0)
    if template not in DERIVED or not limit:
        return {}
    percent = parameters["used"] * 100 / limit
    values: JsonObject = {"percent": int(percent)}
    if template == "cost_warning":
        values["threshold"] = reached(parameters["used"], limit)
    return values


def reached(used: float, quota: float) -> int:
    """The highest threshold, in percent, that the use of a quota has come to; 0: none."""
    # Multiplied rather than divided: 0.95 of 100 is 95, whatever the last bit of a quotient says.
    return max((each for each in THRESHOLDS if used * 100 >= quota * each), default=0)


def _fields(template: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(PARAMETERS[template])


@cache
def _alone(kind: type[Parameters], name: str) -> Any:
    """A struct of this one parameter, so that each is judged by itself."""
    (type_,) = [field.type for field in msgspec.structs.fields(kind) if field.name == name]
    return msgspec.defstruct("Parameter", [(name, type_)])
