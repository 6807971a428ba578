"""W3C trace context: what is taken from a request, and what is passed on."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.telemetry.spans import NO_SPAN, NoTelemetry
from wsserver.telemetry.trace_context import (
    TraceContext,
    TraceMemory,
    present_trace,
    trace_of,
    within,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEX = st.text("0123456789abcdef")


def parsed(parent: str, state: str = "") -> TraceContext | None:
    return trace_of({"traceparent": parent, "tracestate": state})


def test_a_context_of_another_system() -> None:
    found = parsed(f"00-{TRACE}-{SPAN}-01", "vendor=opaque,other=1")
    assert found == TraceContext(TRACE, SPAN, 1, "vendor=opaque,other=1")
    assert found.headers() == {
        "traceparent": f"00-{TRACE}-{SPAN}-01",
        "tracestate": "vendor=opaque,other=1",
    }
    assert TraceContext(TRACE, SPAN, 0).headers() == {"traceparent": f"00-{TRACE}-{SPAN}-00"}


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parsed(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == TraceContext(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nX-Injected: 1",
    ],
)
def test_what_is_none_begins_a_trace_of_its_own(parent: str) -> None:
    assert parsed(parent) is None


@pytest.mark.parametrize("state", ["a" * 513, "a=\u00e4", "a=1\r\nX-Injected: 1", "a=\x00"])
def test_a_state_that_cannot_be_passed_on_is_dropped(state: str) -> None:
    found = parsed(f"00-{TRACE}-{SPAN}-01", state)
    assert found is not None
    assert found.state == ""


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    found = parsed(text, text)
    if found is not None:
        assert parsed(found.parent, found.state) == found


@given(HEX.filter(lambda text: len(text) == 32 and text.strip("0") != ""), st.integers(0, 255))
def test_what_goes_out_can_be_read(trace_id: str, flags: int) -> None:
    context = TraceContext(trace_id, SPAN, flags)
    assert parsed(context.parent) == context


@pytest.mark.gen_test
async def test_tasks_have_the_context_in_which_they_were_started() -> None:
    context = TraceContext(TRACE, SPAN, 1)
    begun = asyncio.Event()

    async def work() -> TraceContext | None:
        await begun.wait()
        return present_trace()

    with within(context):
        inside = asyncio.create_task(work())
        assert present_trace() == context
    outside = asyncio.create_task(work())
    assert present_trace() is None
    begun.set()
    assert (await inside, await outside) == (context, None)


def test_the_latest_contexts_are_remembered() -> None:
    memory = TraceMemory(2)
    memory.note("without")
    for number in range(3):
        with within(TraceContext(TRACE, f"{number:016x}", 1)):
            memory.note(str(number))
    assert memory.of("without") is None
    assert memory.of("0") is None
    found = memory.of("2")
    assert found is not None
    assert found.span_id == f"{2:016x}"


def test_without_opentelemetry_a_trace_only_passes_through() -> None:
    context = TraceContext(TRACE, SPAN, 1)
    assert NoTelemetry().begin("x", "server", None, {}) is NO_SPAN
    span = NoTelemetry().begin("x", "server", context, {})
    assert span.context == context
    span.end({"a": 1}, "fault")
