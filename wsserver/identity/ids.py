"""Syntax of user, session and organization ids."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_USER_ID = re.compile(r"[A-Za-z0-9._:@|+-]{1,128}")


def is_id(text: str) -> bool:
    """Whether a text is an id: 1–128 characters of ``[A-Za-z0-9._:@-]``, ASCII only."""
    return _ID.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Whether a text is a user id: 1–128 characters of ``[A-Za-z0-9._:@|+-]``.

    Identity providers write ``auth0|0123``, and mail addresses may have a ``+tag``.
    """
    return _USER_ID.fullmatch(text) is not None
