"""``Nodes``: requests to all nodes or to the one that is named; who did not answer."""

from __future__ import annotations

from typing import Any, TypeVar

from wsserver.cluster.control import Answers, Control, Request
from wsserver.cluster.directory import ConnectionDirectory, NodeRecord
from wsserver.errors import NotFound

R = TypeVar("R")

ANSWER_S = 0.8
"""Time for the answers of other nodes; a reader gets what there is within a second."""


class Nodes:
    """Asks the nodes of a cluster."""

    def __init__(self, control: Control, directory: ConnectionDirectory) -> None:
        self.own = control.node
        """Name of this node."""
        self._control = control
        self._directory = directory

    async def ask(self, request: Request[R], node: str | None = None) -> Answers[R]:
        """Ask all nodes, or one by its name; raises ``NotFound`` for a name that no node has."""
        if node is None:
            return await self._control.ask_all(request, ANSWER_S)
        await self.require(node)
        return await self._control.ask(node, request, ANSWER_S)

    async def require(self, node: str) -> None:
        """Raise ``NotFound`` for a name that no node has, nor had within the last minute.

        While the directory cannot be reached, a node may have started meanwhile: then any name may
        be one.
        """
        if node == self.own:
            return
        names = [each.node for each in await self._directory.nodes()]
        if node not in names and self._directory.health()["ok"]:
            raise NotFound("node", node, f"the nodes are {', '.join(names)}")

    async def may_answer(self, node: str) -> bool:
        """Whether there is a node of this name that the directory does not list as lost."""
        if node == self.own:
            return True
        found = [each.state for each in await self._directory.nodes() if each.node == node]
        return "lost" not in found if found else not self._directory.health()["ok"]

    async def records(self) -> list[NodeRecord]:
        """The nodes as the directory has them, sorted by name."""
        return list(await self._directory.nodes())

    async def connections_of(self, user_id: str) -> int:
        """Number of a user's connections on all nodes."""
        return await self._directory.count(user_id)


def unreachable_in(answers: Answers[Any]) -> dict[str, list[str]]:
    """The member ``unreachable`` of an answer to a client; nothing if all nodes answered."""
    return {"unreachable": sorted(answers.unreachable)} if answers.unreachable else {}
