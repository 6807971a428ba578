"""REST endpoints of rules."""

from __future__ import annotations

from typing import Any

from wsserver.extending.extension import ExtensionResource
from wsserver.extensions.rules.service import READ, Rules
from wsserver.extensions.rules.views import Firings, RuleList, RulesTest, replay_faults
from wsserver.web.api.endpoint import Call

RESOURCE = ExtensionResource(
    "rules", "Rules", "Rules about customers who wait and answers that stall."
)

_FIRING = {
    "rule": "nobody_there",
    "kind": "waiting",
    "at": "2030-01-15T14:32:00.000Z",
    "session_id": "gewe:sales:wxid_ann",
    "organization_id": "org_123",
    "user_id": "wxid_ann",
    "username": "Ann",
    "message_id": "msg_01hk153x00h9v3t7n2c4d5e6",
    "since": "2030-01-15T14:30:00.000Z",
    "until": "2030-01-15T14:41:12.000Z",
    "notify": ["role:manager of org_123"],
}


@RESOURCE.endpoint("GET /rules", READ, RuleList)
async def _list(rules: Rules, call: Call) -> dict[str, Any]:
    """List the rules of the configuration."""
    return await rules.listing(call.caller)


@RESOURCE.endpoint(
    "POST /rules/test",
    READ,
    Firings,
    request=RulesTest,
    rules=replay_faults,
    request_example={"since": "2030-01-08T14:30:00Z"},
    answer_example={"firings": [_FIRING], "sessions": 12, "next_cursor": None},
)
async def _test(rules: Rules, call: Call) -> dict[str, Any]:
    """Look back when rules would have fired, and on whom."""
    return await rules.test(call.caller, call.body)
