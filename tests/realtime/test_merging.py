"""Merging of the nodes' parts: the page that is made of them is the page of the whole list."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver import paging
from wsserver.paging import take
from wsserver.realtime.observability.merged_statistics import (
    NodeStatistics,
    merge_busiest,
    merge_statistics,
)
from wsserver.realtime.observability.statistics import percentiles
from wsserver.realtime.operations.merging import (
    Part,
    distinct_total,
    merge_parts,
    merge_session,
    merge_user,
    only,
    total_of,
)

IDS = st.sets(st.integers(0, 60).map(lambda number: f"k{number:02}"))


def part_of(items: list[dict[str, Any]], after: str | None, limit: int) -> Part:
    """What a node answers."""
    keys = [item["id"] for item in items]
    rest = items[0 if after is None else bisect_right(keys, after) :]
    taken, has_more = take(rest[: limit + 1], limit)
    return Part(taken, has_more, len(items), keys)


def pages_of(nodes: list[list[dict[str, Any]]], limit: int, combine: Any) -> list[dict[str, Any]]:
    """All pages, one after the other."""
    seen: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        parts = [part_of(items, after, limit) for items in nodes]
        page, has_more = merge_parts(parts, "id", limit, combine)
        assert len(page) <= limit
        assert page or not has_more
        seen += page
        if not has_more:
            return seen
        after = page[-1]["id"]


@given(st.lists(IDS, min_size=1, max_size=4), st.integers(1, 7), st.integers(0, 40))
def test_pages_of_parts_are_the_pages_of_the_whole(
    nodes: list[set[str]], limit: int, unit: int
) -> None:
    """Items that may be on several nodes, and pages that end at a number of bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "PAGE_BYTES", 2000)

        def pad(id_: str, node: int) -> str:
            return "x" * (int(id_[1:]) * (node + 7) * unit % 1500)

        lists = [
            [{"id": id_, "n": 1, "pad": pad(id_, node)} for id_ in sorted(ids)]
            for node, ids in enumerate(nodes)
        ]

        def combine(items: Any) -> dict[str, Any]:
            return {**items[0], "n": sum(item["n"] for item in items)}

        seen = pages_of(lists, limit, combine)
    assert [(item["id"], item["n"]) for item in seen] == [
        (id_, sum(id_ in ids for ids in nodes)) for id_ in sorted(set().union(*nodes))
    ]


@given(st.lists(IDS, min_size=1, max_size=4))
def test_totals(nodes: list[set[str]]) -> None:
    parts = [Part([], False, len(ids), sorted(ids)) for ids in nodes]
    assert total_of(parts) == sum(map(len, nodes))
    assert distinct_total(parts) == len(set().union(*nodes))


def test_what_is_on_one_node_stays_as_it_is() -> None:
    item = {"id": "k1"}
    assert (only([item]), merge_user([item]), merge_session([item])) == (item, item, item)


def test_a_user_of_two_nodes_has_the_metadata_of_the_oldest_connection() -> None:
    later = {"user_id": "u", "connections": 2, "online_since": "2024-01-15T14:30:00.000Z",
             "metadata": {"role": "user"}}  # fmt: skip
    earlier = {"user_id": "u", "connections": 1, "online_since": "2024-01-15T14:29:59.999Z",
               "metadata": {"role": "manager"}}  # fmt: skip
    assert merge_user([later, earlier]) == {**earlier, "connections": 3}


def test_a_session_of_two_nodes_has_each_user_once() -> None:
    def session(**users: int) -> dict[str, Any]:
        shown = [{"user_id": u, "username": None, "connections": n} for u, n in users.items()]
        return {"session_id": "s", "users": shown, "connections": sum(users.values())}

    assert merge_session([session(a=1, b=2), session(b=1, c=1)]) == session(a=1, b=3, c=1)


def node_statistics(values: list[float], users: list[str], **more: Any) -> NodeStatistics:
    stats = {
        "messages_sent": len(values),
        "active_users": len(users),
        "active_sessions": 0,
        "uptime_s": 0.5 * len(values),
        "rates": {"connects_per_s": 0.1},
        "deliver_ms": percentiles(values),
        "node": "n",
        **more,
    }
    return NodeStatistics(stats, users)


VALUES = st.lists(st.floats(0, 1000), max_size=30)


@given(st.lists(st.tuples(VALUES, IDS), min_size=2, max_size=4))
def test_statistics_of_several_nodes(nodes: list[tuple[list[float], set[str]]]) -> None:
    parts = [node_statistics(values, sorted(ids)) for values, ids in nodes]
    merged = merge_statistics(parts, "*")
    values = [value for each, _ in nodes for value in each]
    assert merged["messages_sent"] == len(values)
    assert merged["active_users"] == len(set().union(*(ids for _, ids in nodes)))
    assert merged["rates"]["connects_per_s"] == pytest.approx(0.1 * len(nodes))
    assert merged["uptime_s"] == max(part.stats["uptime_s"] for part in parts)
    assert merged["node"] == "*"
    exact = percentiles(values)
    assert (merged["deliver_ms"]["max"], merged["deliver_ms"]["p50"] is None) == (
        exact["max"],
        not values,
    )
    for name, value in exact.items():
        assert value is None or merged["deliver_ms"][name] >= value


def test_a_node_of_another_version_may_lack_a_figure() -> None:
    parts = [node_statistics([], [], more=1), node_statistics([], [], other={"x": 2})]
    merged = merge_statistics(parts, "*")
    assert (merged["more"], merged["other"]) == (1, {"x": 2})


def test_the_busiest_of_all_nodes() -> None:
    one: Any = {"users": [{"user_id": "a", "username": None, "messages_per_s": 1.0},
                     {"user_id": "b", "username": "B", "messages_per_s": 0.5}],
           "sessions": [{"session_id": "s", "messages_per_s": 1.5}]}  # fmt: skip
    two: Any = {"users": [{"user_id": "b", "username": "B", "messages_per_s": 0.75},
                     {"user_id": "a", "username": "A", "messages_per_s": 0.2}],
           "sessions": []}  # fmt: skip
    merged = merge_busiest([one, two, {}], 50)
    assert merged == {
        "users": [{"user_id": "b", "username": "B", "messages_per_s": 1.25},
                  {"user_id": "a", "username": "A", "messages_per_s": 1.2}],
        "sessions": [{"session_id": "s", "messages_per_s": 1.5}],
    }  # fmt: skip
    assert [row["user_id"] for row in merge_busiest([one, two], 1)["users"]] == ["b"]
