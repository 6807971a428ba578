"""The client is of use to programs that have nothing of the server."""

from __future__ import annotations

import subprocess
import sys

import wsserver.sdk


def test_it_imports_nothing_of_the_server() -> None:
    script = (
        "import sys, wsserver.sdk\n"
        "print(*sorted(name for name in sys.modules if name.startswith('wsserver')))\n"
        "print(*[name for name in ('tornado', 'msgspec', 'sqlite_utils') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    own, foreign = done.stdout.split("\n")[:2]
    others = {name for name in own.split() if not name.startswith("wsserver.sdk")}
    assert others == {"wsserver", "wsserver.version"}
    assert foreign == ""


def test_every_public_name_is_there() -> None:
    assert sorted(wsserver.sdk.__all__, key=str) == sorted(set(wsserver.sdk.__all__))
    for name in wsserver.sdk.__all__:
        assert getattr(wsserver.sdk, name).__module__.startswith("wsserver.sdk"), name
