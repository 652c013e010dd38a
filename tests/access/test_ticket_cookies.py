"""Names and attributes of the cookie, by scheme and place."""

from __future__ import annotations

import pytest

from pagent.access.ticket_cookies import cookie_name, is_secure, set_cookie, values_of
from pagent.config.router import RouterApps
from pagent.front.apps import AppRoutes
from pagent.http1.incoming import read_head
from pagent.http1.job_names import JobName, JobPlace
from pagent.rpc.directory import Client

UID = "0" * 32
HOST = JobPlace(JobName(UID, None), f"{UID}.localhost", "/")
PATH = JobPlace(JobName(UID, None), f"/{UID}", f"/{UID}/")


@pytest.mark.parametrize(
    ("place", "secure", "embed", "expected"),
    [
        (HOST, False, False, "pagent-ticket=v; Path=/; Max-Age=9; HttpOnly; SameSite=Lax"),
        (HOST, True, False, "__Host-pagent-ticket=v; Path=/; Max-Age=9; HttpOnly; SameSite=Lax; Secure"),
        (PATH, False, False, f"pagent-ticket=v; Path=/{UID}/; Max-Age=9; HttpOnly; SameSite=Lax"),
        (PATH, True, False, f"__Secure-pagent-ticket=v; Path=/{UID}/; Max-Age=9; HttpOnly; SameSite=Lax; Secure"),
        (HOST, True, True, "__Host-pagent-ticket=v; Path=/; Max-Age=9; HttpOnly; SameSite=None; Secure; Partitioned"),
        (HOST, False, True, "pagent-ticket=v; Path=/; Max-Age=9; HttpOnly; SameSite=None; Secure; Partitioned"),
    ],
)
def test_set_cookie(place: JobPlace, secure: bool, embed: bool, expected: str) -> None:
    assert set_cookie(place, "v", 9, secure=secure, embed=embed) == expected
    assert expected.startswith(cookie_name(place, secure=secure) + "=")


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("given", ["http", "https", "HTTPS", None])
@pytest.mark.parametrize("configured", [True, False, None])
def test_the_scheme(trusted: bool, tls: bool, given: str | None, configured: bool | None) -> None:
    field = "" if given is None else f"\r\nX-Forwarded_Proto: {given}\r\nX-Forwarded-Proto: x"
    head = read_head(f"GET / HTTP/1.1\r\nHost: x{field}".encode())
    expected = given.lower() == "https" if trusted and given else tls
    found = is_secure(head, Client("127.0.0.1", 1, trusted, tls, 2), configured)
    assert found is (expected if configured is None else configured)


def test_values_of_cookies() -> None:
    block = (
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; pagent-ticket=1;pagent-ticket=2\r\nCookie: pagent-ticket=3=4; b=2"
    )
    head = read_head(block)
    assert head.own_cookies is not None
    assert values_of(head.own_cookies, "pagent-ticket") == ["1", "2", "3=4"]
    assert head.fields == [["Host", "x"], ["Cookie", "a=1"], ["Cookie", "b=2"]]
    assert read_head(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1").own_cookies is None


@pytest.mark.parametrize(
    ("url", "port", "place", "address"),
    [
        (None, None, f"{UID}.localhost", f"http://{UID}.localhost:7/.pagent/enter"),
        (None, 80, f"{UID}--80.localhost", f"http://{UID}--80.localhost:7/.pagent/enter"),
        ("https://{job}.localhost", 80, f"{UID}--80.localhost", f"https://{UID}--80.localhost/.pagent/enter"),
        ("https://x.org/{job}/", 80, f"/{UID}:80", f"https://x.org/{UID}:80/.pagent/enter"),
        ("https://x.org/abs/{job}/", None, f"/abs/{UID}", f"https://x.org/abs/{UID}/.pagent/enter"),
    ],
)
def test_entrances(url: str | None, port: int | None, place: str, address: str) -> None:
    """The place of an address is that of the request which it makes."""
    routes = AppRoutes(RouterApps(url=url, paths=True))
    assert routes.entrance(UID, port) is None
    routes.port = 7
    found = routes.entrance(UID, port)
    assert found is not None
    assert (found[0].text, found[1]) == (place, address)
    host, _, target = address.partition("://")[2].partition("/")
    assert routes.place(read_head(f"GET /{target} HTTP/1.1\r\nHost: {host}".encode())) == found[0]
    assert routes.route(read_head(f"GET /{target}?c=1 HTTP/1.1\r\nHost: {host}".encode())) is None
