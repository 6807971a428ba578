"""View settings: pane, order, filter, pause, changed by keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wsctl.output.monitor_pushes import Push, describe
from wsctl.top.model import Row, State

PANES = ("sessions", "users", "events")

SORTS: dict[str, Callable[[Row], Any]] = {
    "messages/s": lambda row: (-row.messages_per_s, -(row.connections or 0), row.id),
    "connections": lambda row: (-(row.connections or 0), -row.messages_per_s, row.id),
    "name": lambda row: (row.name.casefold() or row.id.casefold(), row.id),
}

KEYS = (
    ("q", "quit"),
    ("p, space", "pause the screen; counting continues"),
    ("s", "sort by messages/s, connections, name"),
    ("/", "filter: only rows and events with this text; Esc clears it"),
    ("Tab, ← →", "go to the next or previous pane"),
    ("↑ ↓ PgUp PgDn", "move within the pane; Home goes to its beginning"),
    ("z", "zoom the pane to the whole screen, and back"),
    ("?", "this help; any key closes it"),
)


@dataclass
class View:
    """Settings of the view, and the actions of keys."""

    pane: str = PANES[0]
    sort: str = next(iter(SORTS))
    filter: str = ""
    is_typing: bool = False
    """Whether the filter is being typed."""
    has_help: bool = False
    is_zoomed: bool = False
    is_over: bool = False
    """Whether to quit."""
    frozen: State | None = None
    """Copy of the state while paused."""
    scroll: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PANES, 0))

    def press(self, key: str, state: State) -> None:
        """Run the action of a key; ``key`` is a character or a name such as ``up``."""
        if self.is_typing:
            self._type(key)
        elif self.has_help:
            self.has_help = False
        elif key in _ACTIONS:
            _ACTIONS[key](self, state)

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self.is_typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter += key
        self.scroll = dict.fromkeys(PANES, 0)

    def _quit(self, _: State) -> None:
        self.is_over = True

    def _pause(self, state: State) -> None:
        self.frozen = copy.deepcopy(state) if self.frozen is None else None

    def _sort(self, _: State) -> None:
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]

    def _filter(self, _: State) -> None:
        self.is_typing = True

    def _unfilter(self, _: State) -> None:
        self.filter, self.is_zoomed = "", False

    def _help(self, _: State) -> None:
        self.has_help = True

    def _zoom(self, _: State) -> None:
        self.is_zoomed = not self.is_zoomed

    def _home(self, _: State) -> None:
        self.scroll[self.pane] = 0

    def _turn(self, by: int) -> None:
        self.pane = PANES[(PANES.index(self.pane) + by) % len(PANES)]

    def _move(self, state: State, by: int) -> None:
        shown = self.shown(state)
        rows = events_of(shown, self) if self.pane == "events" else rows_of(shown, self, self.pane)
        self.scroll[self.pane] = max(0, min(self.scroll[self.pane] + by, len(rows) - 1))

    def shown(self, state: State) -> State:
        """The state to show: the current one, or the paused copy."""
        return self.frozen or state


_PAGE = 10
_ACTIONS: dict[str, Callable[[View, State], None]] = {
    "q": View._quit,
    "Q": View._quit,
    "p": View._pause,
    " ": View._pause,
    "s": View._sort,
    "/": View._filter,
    "escape": View._unfilter,
    "?": View._help,
    "h": View._help,
    "z": View._zoom,
    "enter": View._zoom,
    "home": View._home,
    "tab": lambda view, _: view._turn(1),
    "right": lambda view, _: view._turn(1),
    "backtab": lambda view, _: view._turn(-1),
    "left": lambda view, _: view._turn(-1),
    "up": lambda view, state: view._move(state, -1),
    "down": lambda view, state: view._move(state, 1),
    "page up": lambda view, state: view._move(state, -_PAGE),
    "page down": lambda view, state: view._move(state, _PAGE),
}


def rows_of(state: State, view: View, pane: str) -> list[Row]:
    """The sessions or users that pass the filter, in the order chosen."""
    words = view.filter.casefold()
    rows = state.sessions if pane == "sessions" else state.users
    return sorted((row for row in rows if row.matches(words)), key=SORTS[view.sort])


def events_of(state: State, view: View) -> list[Push]:
    """The events that pass the filter, the latest first."""
    words = view.filter.casefold()
    return [push for push in reversed(state.events) if words in describe(push).casefold()]
