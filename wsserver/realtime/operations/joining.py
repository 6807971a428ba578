"""What a node that joins asks the others for: recordings and disturbances that run already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import ANSWER_S

T = TypeVar("T")

ATTEMPTS = 5
PAUSE_S = 2.0
"""Between attempts, while a node does not answer."""


async def take_part(
    control: Control, running: Request[list[T]], begin: Callable[[T], object]
) -> None:
    """Begin here what other nodes list as running; ``begin`` ignores what runs here."""
    for _ in range(ATTEMPTS):
        answers = await control.ask_all(running, ANSWER_S)
        for node, found in answers.by_node.items():
            for each in found if node != control.node else ():
                begin(each)
        if not answers.unreachable:
            return
        await asyncio.sleep(PAUSE_S)
