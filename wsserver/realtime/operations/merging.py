"""Merging of the nodes' parts of a list: pure functions.

A node's part is bounded like a page. The page that is merged from the parts is the page of the
merged list: a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec import Struct

from wsserver.cluster.directory import USERS_LISTED
from wsserver.paging import PageBuilder

Item = dict[str, Any]
Combine = Callable[[Sequence[Item]], Item]


class Part(Struct, frozen=True):
    """A node's part of a page: its first items after the cursor, sorted by their key."""

    items: list[Item]
    has_more: bool
    """Whether the node has items after the last one here; then there is at least one here."""
    total: int = 0
    """Items that the node has on all pages."""
    ids: list[str] = []
    """Keys of all these items; only for lists whose items may be on several nodes."""


def merge_parts(
    parts: Collection[Part], key: str, limit: int, combine: Combine
) -> tuple[list[Item], bool]:
    """The items of the page, and whether more follow.

    ``combine``: makes one item of those with the same key. The last item of a part that has more
    bounds the page: a node may have further items beyond it.
    """
    if len(parts) == 1:
        (part,) = parts
        return part.items, part.has_more
    horizon = min((part.items[-1][key] for part in parts if part.has_more), default=None)
    found: dict[str, list[Item]] = {}
    for part in parts:
        for item in part.items:
            if horizon is None or item[key] <= horizon:
                found.setdefault(item[key], []).append(item)
    page = PageBuilder[Item](limit)
    for id_ in sorted(found):
        if not page.add(combine(found[id_])):
            return page.items, True
    return page.items, horizon is not None


def total_of(parts: Collection[Part]) -> int:
    """Items on all pages, where each item is on one node."""
    return sum(part.total for part in parts)


def distinct_total(parts: Collection[Part]) -> int:
    """Items on all pages, where an item may be on several nodes."""
    if len(parts) == 1:
        (part,) = parts
        return part.total
    return len(set().union(*(part.ids for part in parts)))


def only(items: Sequence[Item]) -> Item:
    """The item, which is on one node."""
    return items[0]


def merge_user(items: Sequence[Item]) -> Item:
    """A user who is connected to several nodes; the metadata are of the oldest connection."""
    if len(items) == 1:
        return items[0]
    oldest = min(items, key=_since)
    return {**oldest, "connections": sum(item["connections"] for item in items)}


def merge_session(items: Sequence[Item]) -> Item:
    """A session with connections on several nodes: each user once, by id, the first 1000."""
    if len(items) == 1:
        return items[0]
    users: dict[str, Item] = {}
    for item in items:
        for user in item["users"]:
            known = users.get(user["user_id"])
            if known is not None:
                users[user["user_id"]] = {
                    **known,
                    "connections": known["connections"] + user["connections"],
                }
            else:
                users[user["user_id"]] = user
    return {
        **items[0],
        "users": [users[user_id] for user_id in sorted(users)[:USERS_LISTED]],
        "connections": sum(item["connections"] for item in items),
    }


def _since(user: Item) -> str:
    since: str = user["online_since"]
    return since
