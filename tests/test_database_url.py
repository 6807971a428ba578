"""The setting ``database_url``: what is refused without connecting, and never quoted."""

from __future__ import annotations

import pytest

from wsserver.config.database import database_url
from wsserver.config.faults import Faulty

PART = "r4bbit"
"""A part of a password."""


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://h/x",
        "postgresql://u:a%40b@h:5432/x",
        "postgresql://h1:1,h2:65535/x?target_session_attrs=read-write",
        "postgresql:///x?host=/run/postgresql&port=5433",
        "postgresql://h:/x",
        "postgresql://h/x?application_name=a@b",
    ],
)
def test_what_libpq_accepts(text: str) -> None:
    assert database_url(text) == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"postgresql://u:a@{PART}@h/x", "second @"),
        (f"postgresql://u:{PART}@@h/x", "second @"),
        (f"postgresql://u:{PART}/b@h/x", "port"),
        (f"postgresql://u:a?b@{PART}@h/x", "second @"),
        (f"postgresql://u:{PART}@h:99999/x", "port"),
        (f"postgresql://u:{PART}@h:0/x", "port"),
        (f"postgresql://u:{PART}@h:5432,h:abc/x", "port"),
        (f"postgresql://u:{PART}@h/x?port=-1", "port"),
        (f"postgresql://u:{PART}@h", "names no database"),
        (f"mysql://u:{PART}@h/x", "postgresql://"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_password(text: str, fault: str) -> None:
    with pytest.raises(Faulty, match=fault) as caught:
        database_url(text)
    assert PART not in str(caught.value)
