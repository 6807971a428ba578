"""Quotas as values: what is used, what is left, and which thresholds are reached; no I/O."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.extensions.quotas.amounts import to_number
from wsserver.extensions.quotas.periods import Kind, Period, period_at

AtLimit = Literal["warn", "stop"]

THRESHOLDS = (80, 95, 100)
"""Percent of a quota at which there is a warning."""
PUSH_INTERVAL_S = 1.0
"""Of ``usage_update``, at least, for one scope on all nodes together."""
CLOCKS_DIFFER_S = 5.0
"""A push that is later than now by more than this was before the clock was set back; one by less
may be of another node, or of the time that this use has waited to be counted."""

USER, ORGANIZATION = "user:", "organization:"


class Quota(Struct, frozen=True, kw_only=True):
    """A quota with what is used of it in its current period; amounts are millionths."""

    scope: str
    unit: str
    limit: int
    period: Kind
    budget: int | None = None
    currency: str | None = None
    timezone: str = "UTC"
    at_limit: AtLimit = "warn"
    current: Period
    """The period that the counts below are of."""
    used: int = 0
    cost: int = 0
    told: int = 0
    """The highest threshold with a warning in this period; 0: none."""
    budget_told: bool = False
    pushed_at: float = 0.0
    """When ``usage_update`` was pushed last."""
    push_due: bool = False
    """Whether something was used since."""
    updated_at: float
    updated_by: str

    @property
    def reached(self) -> int:
        """The highest threshold that is reached; 0: none."""
        return max((each for each in THRESHOLDS if self.used * 100 >= self.limit * each), default=0)

    @property
    def is_over_budget(self) -> bool:
        """Whether the costs are above the budget."""
        return self.budget is not None and self.cost > self.budget

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is left, and nothing more may be used."""
        return self.at_limit == "stop" and self.used >= self.limit

    @property
    def has_news(self) -> bool:
        """Whether there is a warning that was not sent yet."""
        return self.reached > self.told or (self.is_over_budget and not self.budget_told)

    def at(self, now: float) -> Quota:
        """The quota at a time: with nothing used yet if a new period has begun.

        A clock that was set back does not return to a former period.
        """
        ends_at = self.current.ends_at
        if ends_at is None or now < ends_at:
            return self
        return replace(
            self,
            current=period_at(self.period, self.timezone, now),
            used=0,
            cost=0,
            told=0,
            budget_told=False,
        )

    def use(self, amount: int, cost: int, now: float) -> Quota:
        """The quota after something was used, and whether to push that now (``pushed_at``)."""
        quota = self.at(now)
        since_s = now - quota.pushed_at
        is_now = not -CLOCKS_DIFFER_S <= since_s < PUSH_INTERVAL_S
        return replace(
            quota,
            used=quota.used + amount,
            cost=quota.cost + cost,
            pushed_at=now if is_now else quota.pushed_at,
            push_due=not is_now,
        )

    def use_view(self) -> dict[str, Any]:
        """What is used, as answers and pushes have it."""
        ends_at = self.current.ends_at
        return {
            "scope": self.scope,
            "used": to_number(self.used),
            "limit": to_number(self.limit),
            "remaining": to_number(max(0, self.limit - self.used)),
            "unit": self.unit,
            "period": self.period,
            "starts_at": None if ends_at is None else rfc3339(self.current.starts_at),
            "resets_at": rfc3339_or_none(ends_at),
        }

    def view(self) -> dict[str, Any]:
        """The whole quota, as the API has it."""
        return {
            **self.use_view(),
            "budget": None if self.budget is None else to_number(self.budget),
            "cost": to_number(self.cost),
            "currency": self.currency,
            "timezone": self.timezone,
            "at_limit": self.at_limit,
            "exhausted": self.is_exhausted,
            "updated_at": rfc3339(self.updated_at),
            "updated_by": self.updated_by,
        }
