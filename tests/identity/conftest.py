"""Keys that the identity tests share."""

from __future__ import annotations

import pytest

from tests.support.tokens import Signer


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Made once: an RSA key takes a while."""
    return Signer()
