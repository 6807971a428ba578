"""The types of the browser client are the server's own."""

from __future__ import annotations

from scripts.client_types import PATH, generate
from tests.support.built_in import COMMANDS, EXTENSIONS, PUSHES, REPLIES
from wsserver.protocol.pushes import RESERVED_TYPES
from wsserver.web.resources.socket_replies import RESULTS


def test_the_types_are_current() -> None:
    assert PATH.read_text(encoding="utf-8") == generate(), "run scripts/client-types"


def test_every_command_and_every_reserved_type_has_its_shape() -> None:
    assert set(REPLIES) | set(RESULTS) | {"pong"} == set(COMMANDS)
    replies = {type_ for type_, _ in REPLIES.values()} | {"result", "error"}
    assert set(PUSHES) | replies == RESERVED_TYPES | EXTENSIONS.reserved_pushes
