"""Redaction of what is recorded: credentials always, texts of people unless they are wanted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsserver.realtime.operations.recorded_frames import masked, read_text, redacted

MESSAGE = {
    "type": "new_message",
    "session_id": "s1",
    "id": "msg_1",
    "stream": "session:s1",
    "epoch": "e1",
    "offset": 7,
    "timestamp": "2024-01-15T14:30:00Z",
    "message": {
        "id": "msg_1",
        "sender": {"user_id": "alice", "username": "Alice Ng", "role": "user"},
        "content": "Meet at 9, 张三!",
        "content_type": "text/plain",
        "created_at": "2024-01-15T14:30:00Z",
        "edited_at": None,
    },
}


def test_texts_of_people_are_masked_and_all_else_stays() -> None:
    shown: dict[str, Any] = redacted(MESSAGE, with_contents=False)
    expected = json.loads(json.dumps(MESSAGE))
    expected["message"]["content"] = "Xxxx xx 0x 文文x"
    expected["message"]["sender"]["username"] = "Xxxxx Xx"
    assert shown == expected


def test_with_contents_a_message_is_what_it_was() -> None:
    assert redacted(MESSAGE, with_contents=True) == MESSAGE


@pytest.mark.parametrize("with_contents", [True, False])
def test_credentials_are_never_recorded(with_contents: bool) -> None:
    frame = {
        "type": "x",
        "token": "ey.secret",
        "channel": "secret",
        "data": {"password": "secret", "deep": [{"api_key": "secret"}]},
        "call": {"ice_servers": [{"credential": "secret"}]},
        "url": "https://a.example/file?signature=secret",
    }
    assert "secret" not in json.dumps(redacted(frame, with_contents=with_contents))


def test_what_signs_an_address_within_a_text_is_removed() -> None:
    text = 'see "/files/f1?expires=9&signature=AbC_-9" and a.example/#ticket=t1&x=1 Bearer abc'
    shown = redacted({"message": {"content": {"text": text}}, "id": text}, with_contents=True)
    wanted = 'see "/files/f1?[redacted] and a.example/#ticket=[redacted]&x=1 Bearer [redacted]'
    assert shown == {"message": {"content": {"text": wanted}}, "id": wanted}


def test_what_has_the_form_of_its_sender_has_nothing_but_its_form() -> None:
    frame = {
        "type": "order.placed",
        "data": {"id": "A 17", "state": "paid", "price": 9.5, "gift": True, "to": ["Bo"]},
    }  # fmt: skip
    assert redacted(frame, with_contents=False)["data"] == {
        "id": "X 00", "state": "xxxx", "price": 0.0, "gift": True, "to": ["Xx"]
    }  # fmt: skip


def test_unknown_texts_are_masked_and_unknown_numbers_stay() -> None:
    assert redacted({"type": "x", "note": "Hi", "n": 3}, with_contents=False) == {
        "type": "x",
        "note": "Xx",
        "n": 3,
    }


def test_a_masked_text_is_as_long() -> None:
    text = "A\n b\t9 é 한국 🎉"
    assert len(masked(text)) == len(text)


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"1", b"\xff"])
def test_what_is_no_object_has_no_frame(payload: bytes) -> None:
    assert read_text(payload) is None
