"""Parameters of the templates: names and types, validation, derived values."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NotRequired, TypedDict, get_args

import msgspec
from msgspec import Meta, ValidationError

from wsserver.errors import ValidationFailed
from wsserver.protocol.types import JsonObject
from wsserver.protocol.validation import describe, one_of

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]
Limit = Annotated[int, Meta(gt=0, le=10**15)] | Annotated[float, Meta(gt=0, le=1e15)]

THRESHOLDS = (80, 95, 100)
"""Percent of a quota at which there is a warning."""


class DeviceStatus(TypedDict):
    """The status of a device has changed."""

    device_id: Text
    device_name: Text
    old_status: Text
    new_status: Text


class DeviceReconnect(TypedDict):
    """A device tries to reconnect."""

    device_id: Text
    device_name: Text
    attempt: NotRequired[Annotated[int, Meta(ge=1, le=10**9)]]


class RiskAlert(TypedDict):
    """The platform's risk control has flagged a device."""

    device_id: Text
    device_name: Text
    reason: Text


class AiStatus(TypedDict):
    """Status of the AI in a session."""

    session_id: Text
    status: Text
    detail: NotRequired[Text]


class MessageStatus(TypedDict):
    """Status of a message."""

    session_id: Text
    message_id: Text
    status: Text


class HumanTakeover(TypedDict):
    """A customer asks for a human agent."""

    session_id: Text
    customer_name: Text
    reason: NotRequired[Text]


ShortText = Annotated[str, Meta(max_length=2000)]


class ChatMessage(TypedDict):
    """A message in a session that the user has not seen."""

    session_id: Text
    title: Text
    text: ShortText


class CostWarning(TypedDict):
    """A threshold of a quota is reached."""

    used: Amount
    quota: Limit
    period: Text
    unit: NotRequired[Text]


class BudgetExceeded(TypedDict):
    """A budget is exceeded."""

    used: Amount
    budget: Amount
    period: Text
    currency: NotRequired[Text]


class UsageReport(TypedDict):
    """Usage in a period."""

    period: Text
    used: Amount
    quota: Amount
    unit: NotRequired[Text]


class Maintenance(TypedDict):
    """Time of a maintenance."""

    starts_at: Text
    ends_at: Text
    detail: NotRequired[Text]


class FeatureUpdate(TypedDict):
    """New features."""

    summary: Text
    version: NotRequired[Text]


class SecurityAlert(TypedDict):
    """A security event of an account."""

    event: Text
    detail: NotRequired[Text]
    ip: NotRequired[Text]


PARAMETERS: dict[str, type] = {
    "device_status": DeviceStatus,
    "device_reconnect": DeviceReconnect,
    "risk_alert": RiskAlert,
    "ai_status": AiStatus,
    "message_status": MessageStatus,
    "human_takeover": HumanTakeover,
    "chat_message": ChatMessage,
    "cost_warning": CostWarning,
    "budget_exceeded": BudgetExceeded,
    "usage_report": UsageReport,
    "maintenance": Maintenance,
    "feature_update": FeatureUpdate,
    "security_alert": SecurityAlert,
}
"""The built-in templates; extensions have more."""

DERIVED: dict[str, tuple[str, ...]] = {
    "cost_warning": ("percent", "threshold"),
    "usage_report": ("percent",),
}
"""Values derived from the parameters, which texts may name too."""


Kinds = Mapping[str, type]
"""Template → a ``TypedDict`` of its parameters."""


def required(template: str, kinds: Kinds = PARAMETERS) -> frozenset[str]:
    """Required parameters of a template."""
    names: frozenset[str] = kinds[template].__required_keys__  # type: ignore[attr-defined]
    return names


def known(template: str, kinds: Kinds = PARAMETERS) -> frozenset[str]:
    """All parameters of a template."""
    return frozenset(kinds[template].__annotations__)


def check(template: str, given: Mapping[str, Any], kinds: Kinds = PARAMETERS) -> JsonObject:
    """Validate the parameters of a template.

    Raises ``ValidationFailed`` naming each one that is missing, unknown or of a wrong type.
    """
    if template not in kinds:
        message = f"{template[:64]!r} is {one_of(tuple(kinds))}"
        raise ValidationFailed([{"field": "template", "message": message}])
    all_of_them = known(template, kinds)
    faults = [
        *[(name, "required") for name in sorted(required(template, kinds) - given.keys())],
        *[
            (name, f"unknown parameter; {template} takes {', '.join(sorted(all_of_them))}")
            for name in sorted(given.keys() - all_of_them)
        ],
    ]
    kind = kinds[template]
    for name in sorted(all_of_them & given.keys()):
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
    """Values derived from valid parameters, by name."""
    limit = parameters.get("quota", 0)
    if template not in DERIVED or not limit:
        return {}
    percent = parameters["used"] * 100 / limit
    values: JsonObject = {"percent": int(percent)}
    if template == "cost_warning":
        values["threshold"] = reached(parameters["used"], limit)
    return values


def reached(used: float, quota: float) -> int:
    """The highest threshold, in percent, that is reached; 0: none."""
    # Multiplied rather than divided: 0.95 of 100 is 95, whatever the last bit of a quotient says.
    return max((each for each in THRESHOLDS if used * 100 >= quota * each), default=0)


@cache
def _alone(kind: type, name: str) -> Any:
    """A struct of one parameter, so that each is validated separately."""
    type_: Any = kind.__annotations__[name]
    if name in kind.__optional_keys__:  # type: ignore[attr-defined]
        (type_,) = get_args(type_)
    return msgspec.defstruct("Parameter", [(name, type_)])
