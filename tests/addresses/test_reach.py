"""Protection against server-side request forgery: addresses that URLs may not reach."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from wsserver.addresses.reach import Place, Reach, allowed, check_url, look_up
from wsserver.errors import UrlForbidden

PUBLIC = Reach()
DEVELOPMENT = Reach(loopback=True)
OFFICE = Reach(networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://push.example.com/x?y=z", Place("push.example.com", 443, True)),
        ("https://Push.Example.com:8443/", Place("push.example.com", 8443, True)),
        ("https://8.8.8.8/", Place("8.8.8.8", 443, True)),
        ("https://[2606:4700::1111]:1/", Place("2606:4700::1111", 1, True)),
    ],
)
def test_places_on_the_public_internet(url: str, place: Place) -> None:
    for reach in (PUBLIC, DEVELOPMENT, OFFICE):
        assert check_url(url, reach) == place


FORBIDDEN = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://127.0.0.1./",
    "https://localhost/",
    "https://LOCALHOST:8080/",
    "https://localhost./",
    "https://a.localhost/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[fd00::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://192.0.2.1/",
    "https://192.0.0.8/",
    "https://192.88.99.1/",
    "https://[3fff::1]/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://１２７.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "http://push.example.com/",
    "http://8.8.8.8/",
    "file:///etc/passwd",
    "ftp://push.example.com/",
    "gopher://push.example.com/",
    "//push.example.com/",
    "push.example.com",
    "",
    "https://",
    "https:///x",
    "https://:443/",
    "https://push.example.com:0/",
    "https://push.example.com:65536/",
    "https://push.example.com:x/",
    "https://user:pw@push.example.com/",
    "https://@push.example.com/",
    "https://push.example.com@127.0.0.1/",
    "https://push.example.com\\@127.0.0.1/",
    "https://push.example.com/#x",
    "https://push.example.com/\r\nX: y",
    "https://push example.com/",
    "https://[push.example.com]/",
    "https://push..example.com/",
    "https://push.example.com/" + "x" * 2048,
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_addresses_that_must_not_be_requested(url: str) -> None:
    with pytest.raises(UrlForbidden) as caught:
        check_url(url, PUBLIC)
    assert caught.value.meaning.status == 422
    assert caught.value.code == "url_forbidden"
    assert not url or url not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/hook",
        "http://localhost:9000/hook",
        "http://[::1]:9000/hook",
        "https://127.8.9.1/",
        "http://[::ffff:127.0.0.1]/",
    ],
)
def test_development_may_reach_this_machine(url: str) -> None:
    check_url(url, DEVELOPMENT)


@pytest.mark.parametrize(
    "url",
    ["http://127.1/", "http://10.1.2.3/", "http://8.8.8.8/", "https://169.254.169.254/", "file:/x"],
)
def test_development_may_not_reach_more(url: str) -> None:
    with pytest.raises(UrlForbidden):
        check_url(url, DEVELOPMENT)


def test_networks_of_ones_own() -> None:
    for url in ("http://10.1.2.3/", "https://10.1.2.3/", "http://[fd12::1]/", "http://backend/"):
        check_url(url, OFFICE)
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://8.8.8.8/"):
        with pytest.raises(UrlForbidden):
            check_url(url, OFFICE)


SECURE = Place("h", 443, True)
PLAIN = Place("h", 80, False)


def test_one_address_that_may_not_be_reached_condemns_the_host() -> None:
    assert [str(each) for each in allowed(["8.8.8.8", "2606:4700::1"], SECURE, PUBLIC)] == [
        "8.8.8.8",
        "2606:4700::1",
    ]
    with pytest.raises(UrlForbidden):
        allowed(["8.8.8.8", "127.0.0.1"], SECURE, PUBLIC)


def test_by_http_a_name_must_lead_near() -> None:
    allowed(["10.1.2.3"], PLAIN, OFFICE)
    with pytest.raises(UrlForbidden, match="https"):
        allowed(["8.8.8.8"], PLAIN, OFFICE)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "::ffff:127.0.0.1", "localhost", "127.0.0.1"]
)
async def test_what_the_resolver_makes_of_it_is_judged(host: str) -> None:
    with pytest.raises(UrlForbidden):
        await look_up(Place(host, 443, True), PUBLIC)


@pytest.mark.gen_test
async def test_a_host_that_may_be_reached_has_addresses() -> None:
    found = await look_up(Place("127.0.0.1", 8080, False), DEVELOPMENT)
    assert [place for _, place in found] == [("127.0.0.1", 8080)]
