"""The public names of ``wsserver``, and the cost of the import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import wsserver


def test_all_is_sorted_and_is_all_that_is_listed() -> None:
    assert sorted(wsserver.__all__) == wsserver.__all__
    assert dir(wsserver) == wsserver.__all__


@pytest.mark.parametrize("name", wsserver.__all__)
def test_a_public_name_is_importable(name: str) -> None:
    assert getattr(wsserver, name) is not None


def test_a_star_import_is_all() -> None:
    names: dict[str, object] = {}
    exec("from wsserver import *", names)
    assert names.keys() - {"__builtins__"} == set(wsserver.__all__)


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        _ = wsserver.Sever  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="Sever"):
        exec("from wsserver import Sever")


PROGRAM = """
import sys
before = set(sys.modules)
import wsserver
print(*(name for name in sorted(sys.modules) if name.startswith("wsserver") and name not in before))
print(*(name for name in vars(wsserver) if not name.startswith("_")))
from wsserver import Settings
print(*{name.partition(".")[0] for name in sys.modules} & {"tornado", "sqlite_utils", "jwt"})
"""


def test_the_import_is_light_and_adds_no_name_by_accident() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    ours, names, foreign = done.stdout.splitlines()
    assert set(ours.split()) == {"wsserver", "wsserver.version"}
    assert set(names.split()) == {"annotations", "TYPE_CHECKING", "version"}
    assert "tornado" not in foreign
    assert "sqlite_utils" not in foreign
