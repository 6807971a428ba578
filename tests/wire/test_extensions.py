"""Negotiation of permessage-deflate (RFC 7692 §7.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import parse_extension

from wsserver.wire.handshake import HandshakeError, negotiate, parse_extensions

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "bits", "answer"),
    [
        ("permessage-deflate", 15, PLAIN),
        ("permessage-deflate; client_max_window_bits", 15, PLAIN),
        ("permessage-deflate; client_max_window_bits=8", 15, PLAIN),
        ("permessage-deflate; server_no_context_takeover", 15, PLAIN),
        (PLAIN, 15, PLAIN),
        ("permessage-deflate;server_max_window_bits=10", 10, PLAIN + "; server_max_window_bits=10"),
        (
            'permessage-deflate ; server_max_window_bits = "15"',
            15,
            PLAIN + "; server_max_window_bits=15",
        ),
        (
            'permessage-deflate; server_max_window_bits="\\9"',
            9,
            PLAIN + "; server_max_window_bits=9",
        ),
        ("x-webkit-deflate-frame, permessage-deflate", 15, PLAIN),
        ("foo; bar=1; baz, ,permessage-deflate", 15, PLAIN),
        # The first offer that can be granted counts.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", 15, PLAIN),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            9,
            PLAIN + "; server_max_window_bits=9",
        ),
    ],
)
def test_offers_that_are_granted(offers: str, bits: int, answer: str) -> None:
    assert negotiate(offers) == (bits, answer)


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "foo",
        "PERMESSAGE-DEFLATE",
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    ],
)
def test_offers_that_are_declined(offers: str) -> None:
    assert negotiate(offers) is None


@pytest.mark.parametrize(
    "offers",
    [
        "permessage deflate",
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate; server_max_window_bits=",
        'permessage-deflate; server_max_window_bits="10',
        'permessage-deflate; server_max_window_bits=""',
        'permessage-deflate; server_max_window_bits="1 0"',
        "permessage-deflate; a=b=c",
        "; server_max_window_bits=10",
        "permessage-deflate, b\xe4r",
    ],
)
def test_headers_that_are_no_list_of_extensions(offers: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        negotiate(offers)
    assert caught.value.status == 400


@given(st.text(st.sampled_from('permessage-deflate; ,="\\a1\t'), max_size=60))
def test_any_header_is_understood_or_refused(offers: str) -> None:
    status = 101
    try:
        list(parse_extensions(offers))
    except HandshakeError as error:
        status = error.status
    assert status in (101, 400)


bits = st.one_of(st.none(), st.integers(9, 15))


@given(st.booleans(), st.booleans(), bits, st.one_of(bits, st.just(True)))
def test_the_answer_pleases_another_implementation(
    server_forgets: bool, client_forgets: bool, server_bits: int | None, client_bits: object
) -> None:
    factory = ClientPerMessageDeflateFactory(
        server_forgets,
        client_forgets,
        server_bits,
        client_bits,  # type: ignore[arg-type]
    )
    parameters = [
        name if value is None else f"{name}={value}" for name, value in factory.get_request_params()
    ]
    agreement = negotiate("; ".join(["permessage-deflate", *parameters]))
    assert agreement is not None
    ((_, answered),) = parse_extension(agreement.answer)
    theirs = factory.process_response_params(answered, [])
    assert theirs.remote_no_context_takeover
    assert theirs.local_no_context_takeover
    assert theirs.remote_max_window_bits == agreement.window_bits
