"""Sorts those who get a message by the form in which it reaches them: plain or compressed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from wsserver.wire.deflate import bits_for, deflated_frame
from wsserver.wire.frames import build_frame
from wsserver.wire.transport import Transport

Forms: TypeAlias = list[tuple[list[Transport], bytes]]
"""Recipients, and the frame that all of them get."""


def forms_of(text: bytes, transports: Iterable[Transport]) -> Forms:
    """Frame a text for each, compressed where that was agreed on; each form is made once.

    Recipients keep their order within a form. Windows that were agreed on do not matter for texts
    that need none so large: there are two forms at most then.
    """
    needed = bits_for(len(text), 15)
    groups: dict[int, list[Transport]] = {}
    for transport in transports:
        bits = transport._deflate_bits
        groups.setdefault(min(bits, needed), []).append(transport)
    return [
        (group, deflated_frame(text, bits) if bits else build_frame(text))
        for bits, group in groups.items()
    ]
