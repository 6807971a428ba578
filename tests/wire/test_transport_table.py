from __future__ import annotations

from typing import Any

from wsserver.wire.transport import Transport
from wsserver.wire.transport_table import TransportTable


def transport(fd: int) -> Transport:
    backend: Any = None
    owner: Any = None
    return Transport(backend, fd, owner, 0.0)


def test_transports_are_found_by_their_descriptors_in_whatever_order_they_came() -> None:
    table = TransportTable()
    far, near = transport(9), transport(4)
    table.add(far)
    table.add(near)
    assert (table.get(9), table.get(4), len(table)) == (far, near, 2)
    assert list(table) == [near, far]


def test_an_unknown_descriptor_has_none() -> None:
    table = TransportTable()
    assert table.get(3) is None
    table.add(transport(5))
    assert table.get(3) is None
    assert table.get(6) is None


def test_a_descriptor_is_used_again_after_its_transport_was_removed() -> None:
    table = TransportTable()
    former, latter = transport(5), transport(5)
    table.add(former)
    table.remove(former)
    assert (table.get(5), len(table), list(table)) == (None, 0, [])
    table.add(latter)
    assert (table.get(5), len(table)) == (latter, 1)


def test_transports_may_be_removed_while_they_are_gone_through() -> None:
    table = TransportTable()
    for fd in range(3):
        table.add(transport(fd))
    for each in table:
        table.remove(each)
    assert not len(table)
