"""Tasks as values: the table of transitions, and changes."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from tests.support.rst_blocks import table
from wsserver.errors import ValidationFailed
from wsserver.extensions.tasks.errors import BadTransition, VersionChanged
from wsserver.extensions.tasks.model import TRANSITIONS, State, Step, Task, TaskChange, changed_by

LEGAL = {
    "pending": "running cancelled",
    "running": "waiting done failed cancelled",
    "waiting": "running failed cancelled",
    "done": "",
    "failed": "",
    "cancelled": "",
}
"""Written out on purpose: the table of the code must not check itself."""

TASK = Task(
    task_id="task_1",
    title="t",
    steps=(Step("a"), Step("b")),
    created_at=1.0,
    created_by="boss",
    updated_at=1.0,
)


def change(task: Task = TASK, **values: Any) -> tuple[Task, list[str]]:
    return changed_by(task, TaskChange(**values), 9.0)


@pytest.mark.parametrize(("before", "after"), list(product(get_args(State), repeat=2)))
def test_every_pair_of_states(before: Any, after: Any) -> None:
    task = replace(TASK, state=before)
    if before == after:
        assert change(task, state=after) == (task, [])
    elif after in LEGAL[before].split():
        changed, names = change(task, state=after)
        assert (changed.state, changed.version, changed.updated_at) == (after, 2, 9.0)
        assert "state" in names
    else:
        with pytest.raises(BadTransition) as caught:
            change(task, state=after)
        assert caught.value.details["state"] == before
        assert caught.value.meaning.status == 409


def test_the_documentation_has_the_table() -> None:
    shown = {row[0]: row[1] for row in table("docs/tasks.rst", "transitions")}
    assert shown == {
        state: ", ".join(LEGAL[state].split()) or "nothing: it is final" for state in TRANSITIONS
    }


def test_a_final_task_takes_notes_only() -> None:
    done = replace(TASK, state="done")
    for values in ({"step": 1}, {"progress": 0.5}):
        with pytest.raises(BadTransition):
            change(done, **values)
    noted, names = change(done, note="paid")
    assert (noted.version, names) == (2, ["note"])


def test_done_is_whole_unless_it_is_said_otherwise() -> None:
    running = replace(TASK, state="running", progress=0.5)
    assert change(running, state="done")[0].progress == 1.0
    assert change(running, state="done", progress=0.75)[0].progress == 0.75
    assert change(running, state="failed")[0].progress == 0.5


def test_an_unexpected_version_is_told() -> None:
    with pytest.raises(VersionChanged) as caught:
        change(replace(TASK, version=4), state="running", expected_version=3)
    assert caught.value.details == {"version": 4}
    assert change(TASK, state="running", expected_version=1)[0].version == 2


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_step_beyond_the_last_is_refused(steps: int) -> None:
    task = replace(TASK, steps=(Step("x"),) * steps)
    with pytest.raises(ValidationFailed) as caught:
        change(task, step=max(1, steps))
    assert caught.value.details["errors"][0]["field"] == "step"
    assert change(task, step=0) == (task, [])


def test_the_same_values_change_nothing() -> None:
    assert change(step=0, progress=0.0, state="pending") == (TASK, [])
