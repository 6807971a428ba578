"""Messages as rows of the tables of histories, sessions and searches."""

from __future__ import annotations

from typing import Any

import pytest

from wsctl.commands.messages import message_row


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "hello"}, "hello"),
        ({"content": {"a": 1}}, '{"a": 1}'),
        ({"deleted": True}, "[deleted]"),
        ({"content": "It should fit.", "state": "completed"}, "It should fit."),
        ({"content": "It should", "state": "growing"}, "It should [growing]"),
        ({"content": "It should", "state": "interrupted"}, "It should [interrupted]"),
    ],
)
def test_what_is_shown_of_a_message(message: dict[str, Any], text: str) -> None:
    assert message_row({"offset": 1, "message": message})["text"] == text
