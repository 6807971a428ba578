from __future__ import annotations

import pytest

from wsserver.identity.loopback import is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "127.0.0.1", "127.0.0.9", "::1", "[::1]", "::ffff:127.0.0.1"],
)
def test_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "localhost.", "127.1", "127.0.0.1.evil"],
)
def test_everything_else(host: str) -> None:
    assert not is_loopback(host)
