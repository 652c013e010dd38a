from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.references import local_reference


def local(value: str, field: str = "Location", *, port: int = 43017, scheme: str = "http") -> str:
    return local_reference(field, value, port=port, scheme=scheme, host="app.example.org:8443")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:43017/login?next=/a#b", "/login?next=/a#b"),
        ("HTTP://LOCALHOST:43017/", "/"),
        ("https://127.0.0.1:43017/x", "/x"),
        ("http://127.1.2.3:43017/x", "/x"),
        ("http://[::1]:43017/x", "/x"),
        ("http://0.0.0.0:43017/x", "/x"),
        ("http://job.localhost:43017/x", "/x"),
        ("http://app.example.org:43017/x", "/x"),
        ("//localhost:43017/x", "/x"),
        ("http://localhost:43017", "/"),
        ("http://localhost:43017?a", "/?a"),
        ("http://localhost:43017#a", "/#a"),
    ],
)
def test_the_jobs_own_address_becomes_a_path(url: str, expected: str) -> None:
    assert local(url) == local(url, "content-location") == expected
    assert local(f"5; url={url}", "Refresh") == f"5; url={expected}"


@pytest.mark.parametrize(
    "url",
    [
        "/x", "x", "?a", "", "http://localhost/x", "http://localhost:8080/x", "https://example.org:43017/x",
        "https://app.example.org/x", "http://localhost.example.org:43017/", "http://127.0.0.1.example.org:43017/",
        "http://user@localhost:43017/x", "ftp://localhost:43017/", "http:/localhost:43017/", "mailto:a@localhost:43017",
        "http://localhost:43017\t/x", "http://localhost:99999999/", "http://:43017/", "http://[::2]:43017/",
    ],
)  # fmt: skip
def test_any_other_reference_stays(url: str) -> None:
    assert local(url) == url
    assert local(f"0;URL='{url}'", "refresh") == f"0;URL='{url}'"


def test_a_port_that_goes_without_saying() -> None:
    assert local("http://localhost/x", port=80) == "/x"
    assert local("https://localhost/x", port=443) == "/x"
    assert local("//localhost/x", port=443, scheme="https") == "/x"
    assert local("http://localhost/x", port=443) == "http://localhost/x"


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "\\@evil.example/", "///x", "/\\/x"])
def test_no_path_becomes_the_name_of_another_host(path: str) -> None:
    """Two slashes, or characters that a browser reads as these, begin a network-path reference (RFC 3986 4.2)."""
    made = local("http://localhost:43017" + path)
    assert made[0] == "/"
    assert made[1] not in "/\\"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", "5"),
        ("0, http://localhost:43017/x", "0, /x"),
        ("1.5;url='http://localhost:43017/x'", "1.5;url='/x'"),
        ('3; URL = "http://localhost:43017/x"; y', '3; URL = "/x"; y'),
        ("3; url='http://localhost:43017/x", "3; url='/x"),
        ("http://localhost:43017/x", "http://localhost:43017/x"),
    ],
)
def test_refresh(value: str, expected: str) -> None:
    assert local(value, "Refresh") == expected


@given(st.text(max_size=40), st.sampled_from(["Location", "Refresh"]))
def test_anything_is_taken(value: str, field: str) -> None:
    local(value, field)
    local("http://localhost:43017" + value, field)


@pytest.mark.parametrize(
    "value", ["5;url=a" + " " * 60_000 + "b", "\u2003" * 60_000, "5 " * 30_000, "//" + "a." * 30_000]
)
@pytest.mark.parametrize("field", ["Location", "Refresh"])
def test_a_value_of_a_large_head_takes_no_time(value: str, field: str) -> None:
    before = time.process_time()
    local(value, field)
    assert time.process_time() - before < 1
