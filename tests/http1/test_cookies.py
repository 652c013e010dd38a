from __future__ import annotations

import pytest

from pagent.http1.cookies import others, without_own


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("a=1; b=2", "a=1; b=2"),
        ("pagent-ticket=x", ""),
        ("pagent-", ""),
        ("a=1; pagent-ticket=x; b=2", "a=1; b=2"),
        ("__Host-pagent-ticket=x; a=1", "a=1"),
        ("a=1;__Secure-pagent-ticket=x", "a=1"),
        ("a=1;\tpagent-ticket=x;;b=2", "a=1;;b=2"),
        (
            "a=pagent-ticket=x; my-pagent-ticket=y; Pagent-ticket=z",
            "a=pagent-ticket=x; my-pagent-ticket=y; Pagent-ticket=z",
        ),
    ],
)
def test_cookies_of_a_request(value: str, left: str) -> None:
    assert others(value) == left


@pytest.mark.parametrize("name", ["Set-Cookie: ", "set-cookie:", "SET-COOKIE:\t ", "Set-Cookie : "])
@pytest.mark.parametrize(
    "cookie", ["pagent-ticket=x; Path=/", "__Host-pagent-a=b", "__Secure-pagent-", "=pagent-ticket=x", "pagent-ticket"]
)
def test_a_job_sets_none_of_them(name: str, cookie: str) -> None:
    assert without_own(["HTTP/1.1 200 OK", name + cookie, "A: b"]) == ["HTTP/1.1 200 OK", "A: b"]


def test_other_lines_stay() -> None:
    lines = ["HTTP/1.1 200 OK", "Set-Cookie: a=pagent-x", "Set-Cookie: my-pagent-x=1", "X: pagent-x", "", ""]
    assert without_own(lines) == lines
