"""Main loop of ``wsctl top``: waits for keys, data and time, and draws."""

from __future__ import annotations

import os
import select
import sys
import time

from wsctl.config.target import Target
from wsctl.errors import Unreachable
from wsctl.http.client import PATIENCE_S
from wsctl.times import clock_time
from wsctl.top.keys import Keys
from wsctl.top.layout import Moment, frame
from wsctl.top.model import COLUMN_S, State
from wsctl.top.screen import Screen
from wsctl.top.sources import Sources
from wsctl.top.view import View

FASTEST_S = 0.25
"""Shortest interval of redraws for new data; keys redraw immediately."""
SLOWEST_S = 1.0
"""Longest interval of redraws, for the clock."""


def run(target: Target, *, events: tuple[str, ...], interval_s: float, has_colour: bool) -> None:
    """Show the server until ``q``. Raises as ``MonitorFeed.pushes`` does."""
    sources = Sources(target, events=events, interval_s=interval_s)
    state = State(target.url, time.monotonic(), max(COLUMN_S, interval_s))
    sources.start()
    try:
        _wait_for_the_first(sources, state)
        with Screen(has_colour=has_colour, on_change=sources.nudge) as screen:
            _show(screen, sources, state, View())
    finally:
        sources.stop()


def _wait_for_the_first(sources: Sources, state: State) -> None:
    """Wait for the first data, so that a refusal is reported on the normal screen."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not state.stats:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unreachable(f"{state.url} sends no statistics: {sources.reason}")
        select.select([sources.wake], [], [], left)
        sources.deliver(state, time.monotonic())


def _show(screen: Screen, sources: Sources, state: State, view: View) -> None:
    keys, keyboard = Keys(), sys.stdin.fileno()
    drawn_at, size = float("-inf"), screen.size
    is_due = True
    while not view.is_over:
        now = time.monotonic()
        if (is_due and now - drawn_at >= FASTEST_S) or now - drawn_at >= SLOWEST_S:
            if screen.size != size:
                size = screen.size
                screen.clear()
            moment = Moment(now, clock_time(time.time()))
            screen.draw(frame(state, view, *size, moment), size[0])
            drawn_at, is_due = now, False
        pause_s = (FASTEST_S if is_due else SLOWEST_S) - (time.monotonic() - drawn_at)
        ready, _, _ = select.select([keyboard, sources.wake], [], [], max(0.0, pause_s))
        if keyboard in ready:
            typed = screen.read()
            if not typed:
                return
            for key in keys.feed(typed):
                view.press(key, state)
            is_due, drawn_at = True, float("-inf")
        if sources.wake in ready:
            sources.deliver(state, time.monotonic())
            is_due = True


def has_terminal() -> bool:
    """Whether stdin and stdout are a terminal that can draw."""
    return (
        sys.stdin is not None
        and sys.stdout is not None
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM") not in (None, "", "dumb")
    )
