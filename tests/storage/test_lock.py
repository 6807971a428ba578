"""One server a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import FakeClock
from wsserver.storage import Database, DatabaseFault


@pytest.mark.gen_test
async def test_a_second_server_is_kept_off_until_the_first_has_closed(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "new" / "wsserver.sqlite3"
    first, second = Database(path, clock=clock), Database(path, clock=clock)
    await first.open()
    with pytest.raises(DatabaseFault, match="another server is using it"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()
