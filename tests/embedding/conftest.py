"""Fixture: a server inside the test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded_server import SECRET, Make
from wsserver import Server, Settings


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A server on a free port that is not started."""

    def make(**settings: Any) -> Server:
        usual = {"port": 0, "data_dir": tmp_path, "jwt_secret": SECRET}
        return Server(Settings(**{**usual, **settings}))

    return make
