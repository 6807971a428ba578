"""Do the source of keys and the configured algorithms fit together?"""

from __future__ import annotations

from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file, secret_bytes
from wsserver.config.settings import Settings
from wsserver.identity.keys import FAMILIES, PUBLIC_KEY_ALGORITHMS, FileKeys, SecretKeys


def check_one_family(algorithms: tuple[str, ...]) -> None:
    """Raise ``Faulty`` for algorithms of several families."""
    families = {FAMILIES[name] for name in algorithms}
    if len(families) > 1:
        raise Faulty(f"mixes families ({', '.join(sorted(families))}); only one is allowed")


def possible_algorithms(settings: Settings) -> tuple[str, ...]:
    """Return what the one source of keys can do, its default (if it has one) first.

    Raises ``Faulty`` for keys that cannot be read or are not fit for it.
    """
    if settings.jwks_url is not None:
        return tuple(sorted(PUBLIC_KEY_ALGORITHMS))
    try:
        if settings.jwt_public_key_file is not None:
            source: FileKeys | SecretKeys = FileKeys(read_key_file(settings.jwt_public_key_file))
        else:
            source = SecretKeys(secret_bytes(settings) or b"")
    except Faulty:
        raise
    except ValueError as error:
        raise Faulty(f"does not fit: {error}") from None
    own = source.own_algorithm
    return (own, *sorted(source.algorithms - {own}))
