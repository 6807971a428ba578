"""Places of parts of uploads: in all, of each user, and of parts that succeed another."""

from __future__ import annotations

import pytest

from wsserver.extensions.files.errors import FileUploadLimit, FileUploadsBusy
from wsserver.extensions.files.places import ACTIVE_LIMIT, USER_LIMIT, Places


def test_a_user_has_a_share_of_the_places() -> None:
    places = Places()
    taken = [places.take("ann") for _ in range(USER_LIMIT)]
    with pytest.raises(FileUploadLimit) as refused:
        places.take("ann")
    assert refused.value.details["retry_after_s"] > 0
    successor = places.take("ann", is_successor=True)
    places.take("bob")
    for _ in range(2):
        taken[0].free()
        successor.free()
    places.take("ann")
    with pytest.raises(FileUploadLimit):
        places.require("ann")


def test_all_places_may_be_taken() -> None:
    places = Places()
    for number in range(ACTIVE_LIMIT):
        places.take(f"u{number}")
    with pytest.raises(FileUploadsBusy):
        places.take("another")
