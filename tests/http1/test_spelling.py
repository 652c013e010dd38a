from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.spelling import usual_name

USUAL = [
    "Content-Type", "Content-Length", "Content-MD5", "ETag", "WWW-Authenticate", "TE", "DNT", "X-XSS-Protection",
    "Sec-WebSocket-Accept", "Sec-WebSocket-Key", "Set-Cookie", "X-UA-Compatible", "P3P", "Location", "Refresh",
    "Access-Control-Allow-Origin", "X-Request-ID", "SourceMap", "Strict-Transport-Security", "Alt-Svc", "Cache-Control",
    "Expires", "Content-Encoding", "Transfer-Encoding", "Connection", "Content-Disposition", "Accept-Ranges",
]  # fmt: skip


@pytest.mark.parametrize("name", USUAL)
def test_any_spelling_becomes_the_usual_one(name: str) -> None:
    for spelling in (name, name.lower(), name.upper(), name.title(), name.swapcase()):
        assert usual_name(spelling) == name


@given(st.text("abcXYZ-09_!", min_size=1, max_size=12))
def test_a_name_stays_itself_but_for_its_case(name: str) -> None:
    assert usual_name(name).lower() == name.lower()
    assert usual_name(usual_name(name)) == usual_name(name)


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("x-my-own", "X-My-Own"),
        ("X-My-Own", "X-My-Own"),
        ("TestHeader", "TestHeader"),
        ("testHeader", "TestHeader"),
        ("x-amzn-RequestId", "X-Amzn-RequestId"),
        ("X-MY-OWN", "X-MY-OWN"),
        ("x--y-", "X--Y-"),
    ],
)
def test_an_unknown_name_keeps_its_own_capitals(name: str, usual: str) -> None:
    assert usual_name(name) == usual
