"""Streams of AI services: events from bytes, and what each kind of service says in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.extensions.responders.fastgpt import FastGptDecoder, choice_in
from wsserver.extensions.responders.openai import OpenAiDecoder
from wsserver.extensions.responders.pieces import Failure, Text, Usage
from wsserver.extensions.responders.sse import (
    EVENT_LIMIT_BYTES,
    SseEvent,
    SseParser,
    StreamTooLong,
)


def chunk(text: str | None = None, **members: Any) -> str:
    delta = {} if text is None else {"content": text}
    return json.dumps({"choices": [{"delta": delta, "finish_reason": None}], **members})


# -- events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.data(),
)
def test_events_are_the_same_however_the_bytes_arrive(
    texts: list[str], end: str, data: st.DataObject
) -> None:
    stream = "".join(f"event: answer{end}data: {text}{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    parser, events = SseParser(), []
    for start, until in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += parser.feed(stream[start:until])
    events += parser.feed(b"\n")  # after a carriage return it is known that the line has ended
    assert events == [SseEvent("answer", text) for text in texts]


def test_lines_of_data_are_joined_and_what_is_unknown_is_skipped() -> None:
    stream = b"\xef\xbb\xbf: hello\nid: 7\nretry: 10\ndata:a\ndata: b\n\nevent: x\n\ndata: rest"
    assert SseParser().feed(stream) == [SseEvent("message", "a\nb")]


def test_an_endless_line_and_an_endless_event_are_refused() -> None:
    with pytest.raises(StreamTooLong):
        SseParser().feed(b"data: " + b"x" * EVENT_LIMIT_BYTES)
    parser = SseParser()
    line = b"data: " + b"x" * 10_000 + b"\n"
    for _ in range(EVENT_LIMIT_BYTES // len(line)):
        parser.feed(line)
    with pytest.raises(StreamTooLong):
        parser.feed(line)


# -- OpenAI-compatible services


def test_an_answer_with_its_usage() -> None:
    decoder = OpenAiDecoder()
    pieces = [
        *decoder.decode(SseEvent("message", chunk("Guten "))),
        *decoder.decode(SseEvent("message", chunk("Tag"))),
        *decoder.decode(SseEvent("message", '{"choices":[],"usage":{"total_tokens":7,"x":"y"}}')),
    ]
    assert pieces == [Text("Guten "), Text("Tag"), Text(""), Usage({"total_tokens": 7})]
    assert not decoder.is_complete
    decoder.decode(SseEvent("message", "[DONE]"))
    assert decoder.is_complete


def test_a_finish_reason_is_an_end_too() -> None:
    decoder = OpenAiDecoder()
    decoder.decode(SseEvent("message", '{"choices":[{"delta":{},"finish_reason":"length"}]}'))
    assert decoder.is_complete


def test_an_error_within_the_stream() -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit_exceeded"}}
    assert OpenAiDecoder().decode(SseEvent("message", json.dumps(error))) == [
        Failure("slow down", is_temporary=True)
    ]
    assert OpenAiDecoder().decode(SseEvent("message", '{"error":"bad key"}')) == [
        Failure("bad key", is_temporary=False)
    ]


@pytest.mark.parametrize(
    "data",
    [
        "", "{", "null", "[]", "7", '{"choices":7}', '{"choices":[{"delta":[]}]}', '{"usage":[1]}',
        "[" * 5000, '{"x":' * 5000,
    ],
)  # fmt: skip
def test_answers_of_the_wrong_type_are_no_text(data: str) -> None:
    for decoder in OpenAiDecoder(), FastGptDecoder():
        pieces = decoder.decode(SseEvent("message", data))
        assert all(piece == Text("") for piece in pieces)
        assert not decoder.is_complete


# -- FastGPT


def test_an_answer_with_detail() -> None:
    decoder = FastGptDecoder()
    events = [
        SseEvent("flowNodeStatus", '{"status":"running","name":"AI chat"}'),
        SseEvent("answer", chunk("你")),
        SseEvent("answer", '{"choices":[{"delta":{"reasoning_content":"hm"}}]}'),
        SseEvent("fastAnswer", chunk("好")),
        SseEvent("toolCall", '{"tool":{"id":"c1"}}'),
        SseEvent("answer", "[DONE]"),
        SseEvent("flowResponses", '[{"totalPoints":1.5},{"totalPoints":0.5},{"error":"x"}]'),
    ]
    pieces = [piece for event in events for piece in decoder.decode(event)]
    assert "".join(each.text for each in pieces if isinstance(each, Text)) == "你好"
    assert pieces[-1] == Usage({"points": 2.0})
    assert decoder.is_complete
    assert decoder.question is None


def test_points_of_single_nodes_add_up() -> None:
    decoder = FastGptDecoder()
    decoder.decode(SseEvent("flowNodeResponse", '{"totalPoints":1}'))
    assert decoder.decode(SseEvent("flowNodeResponse", '{"totalPoints":2}')) == [
        Usage({"points": 3.0})
    ]


def test_errors_have_a_code_whatever_the_status() -> None:
    wrong = '{"code":514,"statusText":"unAuthApiKey","message":"no such key","data":null}'
    busy = '{"code":409,"statusText":"chatIsGenerating","message":"","data":null}'
    decode = FastGptDecoder().decode
    assert decode(SseEvent("error", wrong)) == [Failure("no such key", is_temporary=False)]
    assert decode(SseEvent("message", busy)) == [Failure("chatIsGenerating", is_temporary=True)]
    assert decode(SseEvent("error", '{"message":"x"}')) == [Failure("x", is_temporary=False)]


SELECT = {
    "type": "userSelect",
    "params": {
        "description": "Which one?",
        "userSelectOptions": [{"key": "o1", "value": "red"}, {"key": "o2", "value": "blue"}],
    },
}


@pytest.mark.parametrize("code", [[], {}, None, "429", 4.5])
def test_a_code_of_an_error_may_have_any_type(code: object) -> None:
    event = SseEvent("error", json.dumps({"code": code, "message": "x"}))
    assert FastGptDecoder().decode(event) == [Failure("x", is_temporary=False)]


def test_an_interactive_node_is_a_question_and_the_end() -> None:
    decoder = FastGptDecoder()
    pieces = decoder.decode(SseEvent("interactive", json.dumps({"interactive": SELECT})))
    assert pieces == [Text("Which one?\n1. red\n2. blue")]
    assert decoder.is_complete
    assert json.loads(decoder.question or b"") == SELECT


@pytest.mark.parametrize(
    ("text", "sent"),
    [("2", "blue"), (" 1 ", "red"), ("0", "0"), ("3", "3"), ("blue", "blue"), ("1" * 5000,) * 2],
)
def test_the_number_of_an_option_means_its_value(text: str, sent: str) -> None:
    assert choice_in(text, SELECT) == sent


def test_a_form_of_one_field_gets_the_text() -> None:
    form = {"type": "userInput", "params": {"inputForm": [{"key": "name", "label": "Name"}]}}
    assert json.loads(choice_in("Ann", form)) == {"name": "Ann"}
    assert choice_in("Ann", None) == "Ann"
