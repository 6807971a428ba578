"""The shape of user, session and organization ids."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


def is_id(text: str) -> bool:
    """Is this a well-formed id: 1–128 characters of ``[A-Za-z0-9._:@-]``, ASCII only?"""
    return _ID.fullmatch(text) is not None
