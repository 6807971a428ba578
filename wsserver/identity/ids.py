"""Syntax of user, session and organization ids."""

from __future__ import annotations

import re

# Browsers and proxies drop the segments "." and ".." of a path, also written as %2e: no URL could
# name such a user.
_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@-]{1,128}")
_USER_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@|+-]{1,128}")

ID_FORM = "1-128 characters of A-Z a-z 0-9 . _ : @ -; not . or .., which URLs drop"
USER_ID_FORM = "1-128 characters of A-Z a-z 0-9 . _ : @ | + -; not . or .., which URLs drop"


def is_id(text: str) -> bool:
    """Whether a text is an id: 1–128 characters of ``[A-Za-z0-9._:@-]``, not ``.`` or ``..``."""
    return _ID.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Whether a text is a user id: 1–128 characters of ``[A-Za-z0-9._:@|+-]``; not ``.`` or ``..``.

    Identity providers write ``auth0|0123``, and mail addresses may have a ``+tag``.
    """
    return _USER_ID.fullmatch(text) is not None
