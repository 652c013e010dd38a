from __future__ import annotations

import pytest

from pagent.http1.cookies import others, sets_own


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


@pytest.mark.parametrize(
    "cookie",
    [
        "pagent-ticket=x; Path=/", "__Host-pagent-a=b", "__Secure-pagent-", "=pagent-ticket=x", "pagent-ticket",
        " \tpagent-", "a=pagent-x", "my-pagent-x=1", "",
    ],
)  # fmt: skip
def test_a_job_sets_none_of_them(cookie: str) -> None:
    assert sets_own(cookie) == (cookie not in ("a=pagent-x", "my-pagent-x=1", ""))
