from __future__ import annotations

import pytest

from pagent.front.forwarded import TrustedProxies, add_forwarded_fields, plain_address, request_id
from pagent.http1.incoming import IncomingHead, read_head
from pagent.rpc.directory import Client

PREFIX = "/jobs/-/job/http"


def head(*fields: str, host: str = "a.example:8080") -> IncomingHead:
    return read_head("\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *fields]).encode())


def forwarded(
    request: IncomingHead, *, trusted: bool, secure: bool = False, address: str = "192.0.2.1"
) -> dict[str, str]:
    add_forwarded_fields(request, Client(address, 1, trusted, secure, 8080), PREFIX, "id")
    names = [name for name, _ in request.fields]
    assert len(names) == len(set(names))
    return {name: value for name, value in request.fields if name != "Host"}


SENT = (
    "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
    "x_forwarded_host: b.example",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /x",
    "X-Real-Ip: 10.0.0.1",
    "Forwarded: for=10.0.0.1",
    "Connection: X-Forwarded-For, X-Forwarded-Prefix",
)
OURS = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "a.example:8080",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "8080",
    "X-Real-Ip": "192.0.2.1",
    "X-Forwarded-Prefix": PREFIX,
    "X-Request-Id": "id",
}


def test_of_a_client_that_is_not_trusted() -> None:
    assert forwarded(head(), trusted=False) == OURS
    assert forwarded(head(*SENT), trusted=False) == OURS


def test_of_a_trusted_proxy() -> None:
    assert forwarded(head(), trusted=True) == OURS
    assert forwarded(head(*SENT), trusted=True) == {
        "X-Forwarded-For": "10.0.0.1, 10.0.0.2, 192.0.2.1",
        "X-Forwarded-Host": "b.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "443",
        "X-Real-Ip": "10.0.0.1",
        "Forwarded": 'for=10.0.0.1, for=192.0.2.1;host="a.example:8080";proto=https',
        "X-Forwarded-Prefix": PREFIX,
        "X-Request-Id": "id",
    }


def test_of_a_trusted_proxy_that_says_little() -> None:
    fields = forwarded(head("X-Forwarded-For: 10.0.0.9", host="a.example"), trusted=True, address="2001:db8::1")
    assert fields["X-Forwarded-For"] == "10.0.0.9, 2001:db8::1"
    assert fields["X-Real-Ip"] == "10.0.0.9"
    assert fields["X-Forwarded-Port"] == "80"
    assert "Forwarded" not in fields


def test_of_a_connection_with_tls() -> None:
    fields = forwarded(head(host="[::1]"), trusted=False, secure=True)
    assert (fields["X-Forwarded-Proto"], fields["X-Forwarded-Port"]) == ("https", "443")


@pytest.mark.parametrize("good", ["a", "A-z_0.9", "x" * 128])
def test_a_good_request_id_is_kept(good: str) -> None:
    assert request_id(head(f"X-Request-Id: {good}")) == good


@pytest.mark.parametrize("bad", ["", "a b", "ä", "x" * 129, "a;b", "a, b"])
def test_another_request_id_is_replaced(bad: str) -> None:
    made = request_id(head(f"X-Request-Id: {bad}"))
    assert len(made) == 32
    assert made != request_id(head())


def test_trusted_proxies() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8::1", "192.0.2.1"])
    assert all(proxies.holds(address) for address in ("10.1.2.3", "2001:db8::1", "192.0.2.1"))
    assert not any(proxies.holds(address) for address in ("11.0.0.1", "2001:db8::2", "", "name", "fe80::1%eth0"))
    assert not TrustedProxies([]).holds("127.0.0.1")
    with pytest.raises(ValueError, match="name"):
        TrustedProxies(["name"])
    assert plain_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert plain_address("2001:db8::1") == "2001:db8::1"
