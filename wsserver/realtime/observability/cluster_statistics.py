"""``ClusterStatistics``: the statistics of all nodes together, at most a second old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wsserver.clock import Clock
from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import Nodes, unreachable_in
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.observability.merged_statistics import (
    PERCENTILES,
    NodeStatistics,
    merge_busiest,
    merge_statistics,
)
from wsserver.realtime.observability.top_talkers import SHOWN
from wsserver.tasks import Tasks

KEPT_S = 1.0
"""How long merged statistics are cached, as every node has to answer for them."""
KEPT_SCOPES = 100
"""Organizations whose statistics are cached."""


class ReadStatistics(Request[NodeStatistics], frozen=True):
    """The statistics of a node, with gauges of one organization or of all."""

    organization_id: str | None = None


class Reading(NamedTuple):
    """The statistics of all nodes together."""

    stats: dict[str, Any]
    """With ``unreachable`` nodes, if there are any."""
    busiest: dict[str, Any]
    """Users and sessions with the most messages of clients."""


class ClusterStatistics:
    """Reads the statistics of the nodes and merges them.

    ``stats``: those of this node, by organization. With a single process nothing is cached.
    """

    def __init__(
        self,
        control: Control,
        nodes: Nodes,
        hub: Hub,
        stats: Callable[[str | None], dict[str, Any]],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._nodes = nodes
        self._hub = hub
        self._stats = stats
        self._clock = clock
        self._tasks = tasks
        self._name = control.all_nodes
        self._is_alone = not control.has_others
        self._busiest: Callable[[], dict[str, Any]] = dict
        self._reads: dict[str | None, tuple[float, asyncio.Task[Reading]]] = {}
        """By organization: when the reading began, in monotonic seconds; the oldest first."""
        control.add_handler(ReadStatistics, self._own)

    def add_busiest(self, busiest: Callable[[], dict[str, Any]]) -> None:
        """Include the busiest users and sessions of this node."""
        self._busiest = busiest

    async def read(
        self, organization_id: str | None = None, node: str | None = None
    ) -> dict[str, Any]:
        """The statistics of all nodes, or of one; with ``unreachable`` nodes, if there are any.

        Raises ``NotFound`` for an unknown node. Of one that does not answer all figures are 0.
        """
        if node is None:
            return (await self._reading(organization_id)).stats
        answers = await self._nodes.ask(ReadStatistics(organization_id), node)
        for found in answers.by_node.values():
            return found.stats
        return {**_zeroed(self._stats(None)), "node": node, **unreachable_in(answers)}

    async def read_with_busiest(self) -> Reading:
        """The statistics, and the busiest users and sessions of all nodes."""
        return await self._reading(None)

    async def _reading(self, organization_id: str | None) -> Reading:
        if self._is_alone:
            return await self._read(organization_id)
        now, reads = self._clock.monotonic(), self._reads
        at, reading = reads.get(organization_id, (now - KEPT_S, None))
        if reading is None or now - at >= KEPT_S:
            reads.pop(organization_id, None)
            while len(reads) >= KEPT_SCOPES:
                del reads[next(iter(reads))]
            reading = self._tasks.spawn(self._read(organization_id), name="cluster statistics")
            reads[organization_id] = now, reading
        return await asyncio.shield(reading)  # others may wait for it, too

    async def _read(self, organization_id: str | None) -> Reading:
        answers = await self._nodes.ask(ReadStatistics(organization_id))
        parts = list(answers.by_node.values())
        if len(parts) == 1:
            stats, busiest = {**parts[0].stats, "node": self._name}, parts[0].busiest
        else:
            stats = merge_statistics(parts, self._name)
            busiest = merge_busiest([part.busiest for part in parts], SHOWN)
        return Reading({**stats, **unreachable_in(answers)}, busiest)

    def _own(self, request: ReadStatistics) -> NodeStatistics:
        mine, hub = request.organization_id, self._hub
        stats, busiest = self._stats(mine), self._busiest()
        if self._is_alone:
            return NodeStatistics(stats, busiest=busiest)
        if mine is None:
            users, sessions = list(hub.user_connections), list(hub.session_connections)
        else:
            connections = hub.of_organization(mine)
            users = list({each.user_id for each in connections})
            joined = [each.sessions for each in connections if each.sessions]
            sessions = list(set[str]().union(*joined))
        return NodeStatistics(stats, users, sessions, busiest)


def _zeroed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of the same form without figures."""
    if PERCENTILES.issuperset(figures):
        return dict.fromkeys(figures)
    return {
        name: _zeroed(value) if isinstance(value, Mapping) else type(value)()
        for name, value in figures.items()
    }
