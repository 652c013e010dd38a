from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagent.http1.incoming import IncomingHead, read_head
from pagent.http1.mounted import Mount

PREFIX = "/0123456789abcdef0123456789abcdef"


def request(host: str = "apps.example.org:8162", proto: str = "http", outside: str | None = None) -> IncomingHead:
    """A request as it is forwarded to a job."""
    head = read_head(f"GET / HTTP/1.1\r\nHost: {host}".encode())
    head.fields += [["X-Forwarded-Host", outside or host], ["X-Forwarded-Proto", proto]]
    return head


def rewritten(*fields: tuple[str, str], of: IncomingHead | None = None) -> list[tuple[str, str]]:
    mount = Mount(PREFIX, lambda: None)
    return [(name, value) for name, value in mount.rewritten([list(each) for each in fields], of or request())]


def reference(value: str, of: IncomingHead | None = None) -> str:
    ((_, got),) = rewritten(("Location", value), of=of)
    return got


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("/", "/"),
        ("/login?next=/a#/b", "/login?next=/a#/b"),
        ("/a//b", "/a//b"),
        ("/../other", "/other"),
        ("/a/../../other?x=/../y", "/other?x=/../y"),
        ("/%2e%2E/other", "/other"),
        ("/.%2e\\other", "/other"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a..b/.x", "/a..b/.x"),
    ],
)
def test_path_absolute_references_get_the_prefix(given_: str, expected: str) -> None:
    assert reference(given_) == PREFIX + expected
    assert rewritten(("Content-Location", given_)) == [("Content-Location", PREFIX + expected)]
    assert rewritten(("refresh", f"5; url={given_}")) == [("refresh", f"5; url={PREFIX}{expected}")]
    assert rewritten(("Refresh", f"0;URL='{given_}'")) == [("Refresh", f"0;URL='{PREFIX}{expected}'")]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("http://apps.example.org:8162/login?a#b", f"http://apps.example.org:8162{PREFIX}/login?a#b"),
        ("HTTP://APPS.example.org:8162/x", f"HTTP://APPS.example.org:8162{PREFIX}/x"),
        ("http://apps.example.org:8162", f"http://apps.example.org:8162{PREFIX}/"),
        ("http://apps.example.org:8162?a", f"http://apps.example.org:8162{PREFIX}/?a"),
        ("//apps.example.org:8162/x", f"//apps.example.org:8162{PREFIX}/x"),
        ("/\\apps.example.org:8162/x", f"/\\apps.example.org:8162{PREFIX}/x"),
        ("http://apps.example.org:8162/../x", f"http://apps.example.org:8162{PREFIX}/x"),
    ],
)
def test_references_to_the_own_origin_get_the_prefix(given_: str, expected: str) -> None:
    assert reference(given_) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", "login", "./x", "../x", "?a", "#a", "mailto:x", "http:x", "https://apps.example.org:8162/x",
        "http://apps.example.org/x", "http://apps.example.org:8163/x", "http://other.example.org:8162/x",
        "http://apps.example.org:8162@evil.example/x", "http://apps.example.org:8162.evil.example/x",
        "//evil.example/x", "\\\\evil.example", f"{PREFIX}/login", PREFIX, f"http://apps.example.org:8162{PREFIX}/login?x",
    ],
)  # fmt: skip
def test_other_references_stay(value: str) -> None:
    assert reference(value) == value


def test_ports_of_schemes_need_not_be_named() -> None:
    assert reference("https://h/x", request("h:443", "https")) == f"https://h{PREFIX}/x"
    assert reference("https://h:443/x", request("h", "https")) == f"https://h:443{PREFIX}/x"
    assert reference("http://h:80/x", request("h")) == f"http://h:80{PREFIX}/x"
    assert reference("https://h/x", request("h")) == "https://h/x"


def test_the_origin_that_a_trusted_proxy_names_counts() -> None:
    head = request("internal:80", "https", "outside.example")
    assert reference("https://outside.example/x", head) == f"https://outside.example{PREFIX}/x"
    assert reference("http://outside.example/x", head) == "http://outside.example/x"


segments = st.lists(st.sampled_from(["..", ".", "a", "", "%2e%2E", ".%2e", "b.c", "é"]), max_size=6).map("/".join)


@example("..//..//x")
@given(segments)
def test_no_path_leaves_the_prefix(path: str) -> None:
    got = reference("/" + path)
    if not ("/" + path).startswith("//"):
        resolved = urlsplit(urljoin("http://h/", got.replace("%2e", ".").replace("%2E", "."))).path
        assert resolved.startswith(PREFIX + "/")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1", "a=1"),
        ("a=1; Path=/", f"a=1; Path={PREFIX}/"),
        ("a=1;path = /x ;HttpOnly", f"a=1; Path={PREFIX}/x;HttpOnly"),
        ("a=1; PATH=/; Path=/y", f"a=1; Path={PREFIX}/; Path={PREFIX}/y"),
        ('a=1; Path="/"', f"a=1; Path={PREFIX}/"),
        ("a=1; Path=x; Path=; Path", "a=1; Path=x; Path=; Path"),
        (f"a=1; Path={PREFIX}/x", f"a=1; Path={PREFIX}/x"),
        (f"a=1; Path={PREFIX}x", f"a=1; Path={PREFIX}{PREFIX}x"),
        ("a=1; Domain=example.org; Secure; domain=.x;Domain", "a=1; Secure"),
        ("__Secure-a=1; Path=/; Secure", f"__Secure-a=1; Path={PREFIX}/; Secure"),
        ("a=b=c; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
         f"a=b=c; Path={PREFIX}/; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("path=/; Path=/", f"path=/; Path={PREFIX}/"),
        ("", ""),
    ],
)  # fmt: skip
def test_cookies_stay_below_the_prefix(value: str, expected: str) -> None:
    assert rewritten(("Set-Cookie", value)) == [("Set-Cookie", expected)]
    assert rewritten(("set-cookie", value)) == [("set-cookie", expected)]


@pytest.mark.parametrize("value", ["__Host-a=1; Path=/; Secure", "__host-a=1", " =__Host-a=1", "__HOST-Http-a=1"])
def test_cookies_of_a_whole_origin_are_left_out_and_counted(value: str) -> None:
    dropped: list[int] = []
    mount = Mount(PREFIX, lambda: dropped.append(1))
    assert mount.rewritten([["Set-Cookie", value], ["Set-Cookie", "a=1"]], request()) == [["Set-Cookie", "a=1"]]
    assert dropped == [1]


@pytest.mark.parametrize(
    "name",
    ["Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "NEL", "nel", "Report-To"],
)
def test_fields_of_a_whole_origin_are_left_out(name: str) -> None:
    assert rewritten((name, "x"), ("X-A", "1")) == [("X-A", "1")]


def test_other_fields_stay_in_their_order() -> None:
    fields = [("Link", "</x>; rel=preload"), ("ETag", "/"), ("X-Location", "/"), ("Set-Cookie2", "a; Path=/")]
    assert rewritten(*fields) == fields


@given(st.text(), st.sampled_from(["Location", "Refresh", "Set-Cookie"]))
def test_any_value_is_taken(value: str, name: str) -> None:
    ((got, _),) = rewritten((name, value)) or [(name, "")]
    assert got == name


@pytest.mark.parametrize(
    "fields", [1, [1], [["a"]], [["a", "b", "c"]], [[1, "x"]], [["Location", 1]], [["Set-Cookie", None]]]
)
def test_what_is_no_list_of_pairs(fields: object) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        Mount(PREFIX, lambda: None).rewritten(fields, request())  # type: ignore[arg-type]
