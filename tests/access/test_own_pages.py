"""Requests that a cookie of a ticket would let in, by the page that has caused them."""

from __future__ import annotations

import pytest

from pagent.access.own_pages import is_of_other_page
from pagent.http1.incoming import read_head
from pagent.http1.job_names import JobHosts, JobName

UID, OTHER = "0" * 32, "1" * 32
HOSTS = JobHosts("localhost")
HOST = f"{UID}.localhost"


def page_of(origin: str) -> JobName | None:
    return HOSTS.name_in(origin.partition("://")[2])


def is_other(*fields: str, host: str = HOST, secure: bool = False) -> bool:
    head = read_head("\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *fields]).encode())
    return is_of_other_page(head, UID, page_of, secure=secure)


OWN = f"http://{HOST}"
PORT_80 = f"http://{UID}--80.localhost"


@pytest.mark.parametrize(
    "fields",
    [
        (),  # a program
        ("Sec-Fetch-Site: none",),  # the address bar
        ("Sec-Fetch-Site: same-origin",),
        ("sec-fetch-site: Same-Origin",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),  # a link
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: Navigate"),
        (f"Origin: {OWN}",),
        (f"Origin: {OWN}:80",),
        (f"Origin: {PORT_80}", "Sec-Fetch-Site: same-site"),
        ("Origin: null", "Sec-Fetch-Site: same-origin"),  # a page without a referrer policy that allows it
        (f"Referer: {PORT_80}/page?a=1", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"),
    ],
)
def test_own_pages(fields: tuple[str, ...]) -> None:
    assert not is_other(*fields)


@pytest.mark.parametrize(
    "fields",
    [
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"),
        (f"Origin: http://{OTHER}.localhost",),
        (f"Origin: http://{OTHER}.localhost", "Sec-Fetch-Site: same-origin"),
        # A form that a page of another job sends: it is a navigation, and its Origin says from where.
        (f"Origin: http://{OTHER}.localhost", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"),
        ("Origin: https://example.org", "Sec-Fetch-Mode: navigate"),
        (f"Origin: {OWN}:8080",),  # another port is another listener
        (f"Origin: ftp://{HOST}",),
        (f"Origin: {HOST}",),
        (f"Origin: http://{HOST}.example.org",),
        ("Origin: http://[::1",),
        ("Origin: http://",),
        ("Origin: null",),
        ("Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),  # a sandboxed frame
        (f"Referer: http://{OTHER}.localhost/", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"),
        (f"Referer: http://{OTHER}.localhost/?{OWN}", "Sec-Fetch-Site: same-site"),
        ("Referer: nonsense", "Sec-Fetch-Site: same-site"),
    ],
)
def test_other_pages(fields: tuple[str, ...]) -> None:
    assert is_other(*fields)


def test_a_page_without_tls_is_another_than_one_with_it() -> None:
    assert is_other(f"Origin: http://{HOST}", secure=True)
    assert not is_other(f"Origin: https://{HOST}", secure=True)
    assert not is_other(f"Origin: https://{HOST}:443", secure=True)
    assert is_other(f"Origin: https://{HOST}:80", secure=True)


def test_the_port_of_the_listener_counts() -> None:
    assert not is_other(f"Origin: http://{HOST}:8080", host=f"{HOST}:8080")
    assert is_other(f"Origin: http://{HOST}", host=f"{HOST}:8080")
    assert is_other(f"Origin: http://{HOST}:8081", host=f"{HOST}:8080")
