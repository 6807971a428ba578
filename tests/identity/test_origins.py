"""Origins, Host headers and loopback addresses."""

from __future__ import annotations

import pytest

from wsserver.identity.origins import Hosts, Origins, is_loopback, is_loopback_host

HERE = Hosts(["here.example"], "127.0.0.1")
ANY = Hosts(None, "0.0.0.0")
LISTED = ["https://app.example.com", "http://localhost:3000", "https://[2001:DB8::1]:8443"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://app.example.com", True),
        ("https://APP.example.com", True),
        ("https://app.example.com:443", True),
        ("http://localhost:3000", True),
        ("https://[2001:db8:0::1]:8443", True),
        ("null", False),
        ("", False),
        ("https://app.example.com.evil", False),
        ("https://evilapp.example.com", False),
        ("https://sub.app.example.com", False),
        ("https://app.example.com.", False),
        ("https://app.example.com:8443", False),
        ("http://app.example.com", False),
        ("wss://app.example.com", False),
        ("https://app.example.com/", False),
        ("https://app.example.com@evil", False),
        ("https://user@app.example.com", False),
        ("https://app.example.com https://evil", False),
        ("https://app.example.com,https://evil", False),
        ("https://app.example.com\n", False),
        ("https://app.example.com:", False),
        ("https://app.example.com:0443x", False),
        ("http://localhost", False),
        ("http://localhost:3001", False),
        ("http://localhost:٣٠٠٠", False),
        ("https://here.example", True),  # its own: Host below is this
        ("http://here.example", False),
        ("https://here.example:8443", False),
        ("file://", False),
    ],
)
def test_listed(origin: str | None, allowed: bool) -> None:
    assert Origins(LISTED, HERE).allows(origin, "here.example", "https") is allowed


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "allowed"),
    [
        (None, "anything at all", "http", True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", "http", True),
        ("http://localhost:8765", "localhost:8765", "http", True),
        ("http://[::1]:8765", "[::1]:8765", "http", True),
        ("http://app.example", "app.example", "http", True),
        ("http://app.example", "app.example:80", "http", True),
        ("https://app.example", "app.example", "https", True),
        ("https://app.example:443", "app.example", "https", True),
        ("https://app.example", "APP.example:443", "https", True),
        # A proxy ends TLS: the page is https, the request looks like http.
        ("https://app.example", "app.example", "http", True),
        ("https://app.example:8443", "app.example:8443", "http", True),
        ("https://localhost", "localhost", "http", True),
        ("https://app.example", "app.example:80", "http", False),
        # No proxy between: the wrong scheme shows.
        ("https://127.0.0.1:8765", "127.0.0.1:8765", "http", False),
        ("https://localhost:8765", "localhost:8765", "http", False),
        ("http://app.example", "app.example", "https", False),
        ("http://app.example:443", "app.example", "https", False),
        ("ws://app.example", "app.example", "http", False),
        ("chrome-extension://app.example", "app.example", "http", False),
        ("null", "null", "http", False),
        ("http://127.0.0.1:8766", "127.0.0.1:8765", "http", False),
        ("http://localhost:8765", "127.0.0.1:8765", "http", False),
        ("http://127.0.0.1", "127.0.0.1:8765", "http", False),
        ("https://app.example.com.evil", "app.example.com", "https", False),
        ("http://app.example.", "app.example", "http", False),
        ("http://app.example@evil", "evil", "http", False),
        ("http://evil", "app.example@evil", "http", False),
        ("http://app.example", "", "http", False),
    ],
)
def test_same_origin(origin: str | None, host: str, scheme: str, allowed: bool) -> None:
    assert Origins(None, ANY).allows(origin, host, scheme) is allowed


@pytest.mark.parametrize(
    ("hosts", "host", "allowed"),
    [
        (HERE, "here.example", True),
        (HERE, "localhost:8765", True),  # the Host check has seen that it is from this machine
        (HERE, "evil.example", False),
        (HERE, "here.example.evil", False),
        # Any Host is let in: a name may be a foreign one that points here (DNS rebinding).
        (ANY, "evil.example", False),
        (ANY, "evil.localhost", False),
        (ANY, "10.0.0.5:8765", True),
        (ANY, "[2001:db8::1]:8765", True),
        (ANY, "localhost:8765", True),
    ],
)
def test_beside_a_list_the_own_origin_is_allowed(hosts: Hosts, host: str, allowed: bool) -> None:
    for listed in (LISTED, []):
        origins = Origins(listed, hosts)
        assert origins.allows(f"http://{host}", host, "http") is allowed
        assert not origins.allows(f"http://{host}", host, "https")
        assert not origins.allows("http://other.example", host, "http")
        assert origins.allows(None, host, "http")


@pytest.mark.parametrize("opaque", ["file://", "null"])
def test_pages_without_a_host_are_allowed_where_they_are_listed(opaque: str) -> None:
    origins = Origins([opaque, *LISTED], HERE)
    assert origins.allows(opaque, "here.example", "https")
    assert origins.allows(LISTED[0], "here.example", "https")
    for other in {"file://", "null", "file:///", "file://x", "nullx", "NULL"} - {opaque}:
        assert not origins.allows(other, "here.example", "https")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:9000", True),
        ("127.0.0.1:8765", True),
        ("[::1]:8765", True),
        ("[0:0::1]", True),
        ("127.0.0.2", False),
        ("evil.localhost", False),
        ("localhost.evil", False),
        ("localhost:x", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_hosts(host: str | None, expected: bool) -> None:
    assert is_loopback_host(host) is expected


def test_malformed_entries_are_all_listed() -> None:
    with pytest.raises(ValueError, match="origin") as caught:
        Origins(
            ["*", "https://ok.example", "app.example", "https://*.example.com", "file:///"], ANY
        )
    for entry in ("'*'", "'app.example'", "'https://*.example.com'", "'file:///'"):
        assert entry in str(caught.value)
    assert "ok.example" not in str(caught.value)
    with pytest.raises(ValueError, match=r"'\*\.example\.com'"):
        Hosts(["*.example.com", "ok.example"], "127.0.0.1")


MALFORMED_HOSTS = [
    None, "", " ", "localhost ", "localhost.", "127.0.0.1.", "user@localhost", "localhost@evil",
    "localhost:", "localhost:0", "localhost:65536", "localhost:x", "localhost:80:80", "::1", "[::1",
    "[::1]x", "[::g]", "[fe80::1%25eth0]", "localhost/", "localhost\n", "localhost,evil",
    "localhost:٨٠", "..", "a..b", "%6cocalhost", "lo\x00calhost",
]  # fmt: skip


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
@pytest.mark.parametrize("bound_host", ["127.0.0.1", "0.0.0.0"])
def test_malformed_host(host: str | None, bound_host: str) -> None:
    assert not Hosts(None, bound_host).allows(host)


@pytest.mark.parametrize(
    ("bound_host", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8765", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost:9000", True),  # a forwarded port
        ("127.0.0.1", "LOCALHOST:8765", True),
        ("127.0.0.1", "[::1]:8765", True),
        ("127.0.0.1", "[0:0:0:0:0:0:0:1]:8765", True),
        ("::1", "[::1]:8765", True),
        ("::1", "127.0.0.1:8765", True),
        ("localhost", "localhost:8765", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost.evil.example:8765", False),
        ("127.0.0.1", "evil.localhost", False),
        ("127.0.0.1", "127.1", False),
        ("127.0.0.1", "2130706433", False),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "[::ffff:127.0.0.1]", False),
        ("10.0.0.5", "10.0.0.5:8765", True),
        ("10.0.0.5", "localhost:8765", False),
        ("chat.internal", "Chat.Internal", True),
        ("0.0.0.0", "evil.example", True),
        ("::", "evil.example:1", True),
        ("[::]", "evil.example:1", True),
        ("", "evil.example:1", True),
    ],
)
def test_default_hosts(bound_host: str, host: str, allowed: bool) -> None:
    assert Hosts(None, bound_host).allows(host) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("chat.example", True),
        ("CHAT.example:9999", True),
        ("api.example:8443", True),
        ("api.example", False),
        ("api.example:443", False),
        ("[2001:db8::1]", True),
        ("sub.chat.example", False),
        ("chat.example.evil", False),
        ("chat.example.", False),
        ("evilchat.example", False),
        ("127.0.0.1:8765", False),
        ("localhost", False),
    ],
)
def test_listed_hosts(host: str, allowed: bool) -> None:
    hosts = Hosts(["chat.example", "api.example:8443", "[2001:DB8:0::1]"], "127.0.0.1")
    assert hosts.allows(host) is allowed


def test_takes_any() -> None:
    assert Hosts(None, "0.0.0.0").takes_any
    assert not Hosts(None, "127.0.0.1").takes_any
    assert not Hosts(["a"], "0.0.0.0").takes_any


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "127.0.0.1", "127.0.0.9", "::1", "[::1]", "::ffff:127.0.0.1"],
)
def test_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "localhost.", "127.1", "127.0.0.1.evil"],
)
def test_everything_else(host: str) -> None:
    assert not is_loopback(host)
