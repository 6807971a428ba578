"""The rows of the route table for those who look for a fault."""

from __future__ import annotations

from wsserver.web.api.endpoint import PREFIX, SIGNED_IN, Endpoint
from wsserver.web.resources.handlers import diagnosis
from wsserver.web.schemas import diagnostics as answers

DIAGNOSIS_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/whoami",
        access=SIGNED_IN,
        handle=diagnosis.whoami,
        answer=answers.Identity,
        summary="Whom the server takes the bearer for, and what that allows",
        tag="Tokens",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/diagnostics",
        access="stats:read",
        handle=diagnosis.diagnostics,
        answer=answers.Diagnostics,
        summary="The server's condition: descriptors, disk, kept streams, channels",
        tag="Server",
    ),
)
