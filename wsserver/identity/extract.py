"""Extraction of the one token or ticket from the headers and query of a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from wsserver.errors import AuthAmbiguous, TokenInvalid, TokenMissing

# RFC 9110 §11.1 (the scheme is case-insensitive), RFC 6750 §2.1; visible ASCII without a comma,
# so that two headers joined by a proxy never pass for one.
_BEARER = re.compile(r"(?i:bearer) +([!-+\--~]+)")
_SUBPROTOCOL_PREFIX = "bearer."


@dataclass(frozen=True, slots=True)
class Credential:
    """A token or ticket. Its repr hides the value, which must not be logged."""

    kind: Literal["token", "ticket"]
    value: str = field(repr=False)


def extract_credential(
    authorization: Sequence[str],
    subprotocols: Sequence[str],
    ticket: Sequence[str],
    token: Sequence[str],
    allow_query_token: bool,
) -> Credential:
    """Find the credential of a request.

    ``authorization`` and ``subprotocols`` are the values of those headers (a value of
    ``Sec-WebSocket-Protocol`` may list several, with commas), ``ticket`` and ``token`` those of
    the query parameters. With ``allow_query_token`` off, ``token`` is ignored.

    Raises ``AuthAmbiguous`` for more than one, even if they are equal: a proxy and the
    server might read different ones. ``TokenMissing`` for none. ``TokenInvalid``
    for an empty one or an ``Authorization`` that is not ``Bearer`` and a token; an
    invalid one counts as given.
    """
    offered = [item.strip() for value in subprotocols for item in value.split(",")]
    bearers = [item for item in offered if item.startswith(_SUBPROTOCOL_PREFIX)]
    query_tokens = token if allow_query_token else ()
    given = len(authorization) + len(bearers) + len(ticket) + len(query_tokens)
    if given > 1:
        raise AuthAmbiguous
    if given == 0:
        raise TokenMissing
    if ticket:
        return _credential("ticket", ticket[0])
    if bearers:
        return _credential("token", bearers[0].removeprefix(_SUBPROTOCOL_PREFIX))
    if query_tokens:
        return _credential("token", query_tokens[0])
    match = _BEARER.fullmatch(authorization[0].strip(" \t"))
    if match is None:
        raise TokenInvalid("Authorization must be: Bearer TOKEN")
    return _credential("token", match[1])


def _credential(kind: Literal["token", "ticket"], value: str) -> Credential:
    if not value:
        raise TokenInvalid(f"the {kind} is empty")
    return Credential(kind, value)
