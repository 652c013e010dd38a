from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access.hosts import ProxyHosts, authority, foreign, is_loopback_name, origin


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.10", "::1", "[::1]"])
def test_names_of_the_loopback(name: str) -> None:
    assert is_loopback_name(name)


@pytest.mark.parametrize("name", ["", "localhost.example", "10.0.0.1", "::", "127.0.0.1.example", "0.0.0.0"])
def test_other_names(name: str) -> None:
    assert not is_loopback_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1", ("a", 1)),
        ("A", ("a", None)),
        ("[::1]:2", ("::1", 2)),
        ("[", ("", None)),
        ("a:x", ("", None)),
        ("", ("", None)),
    ],
)
def test_authority(text: str, expected: tuple[str, int | None]) -> None:
    assert authority(text) == expected


@pytest.mark.parametrize(
    ("text", "host"),
    [("http://a", "a"), ("https://a:1", "a"), ("null", ""), ("file://a", ""), ("a", ""), ("", "")],
)
def test_origin(text: str, host: str) -> None:
    assert origin(text)[0] == host


def refused(hosts: list[str], origins: list[str], sites: list[str]) -> bool:
    return foreign(hosts, origins, sites, lambda host: host == "ours") is not None


def test_programs_pass() -> None:
    assert not refused(["ours"], [], [])
    assert not refused(["ours:1"], [], ["none"])
    assert not refused([], [], [])  # HTTP/1.0


def test_own_pages_pass() -> None:
    assert not refused(["ours:1"], ["http://ours:1"], ["same-origin"])


@pytest.mark.parametrize(
    ("hosts", "origins", "sites"),
    [
        (["theirs"], [], []),
        (["ours:1"], ["http://ours:2"], []),
        (["ours"], ["http://theirs"], []),
        (["ours"], ["null"], []),
        (["ours"], ["http://ours", "http://theirs"], []),
        (["ours"], [], ["cross-site"]),
        (["ours"], [], ["same-origin", "same-site"]),
        ([], ["http://ours"], []),
        ([], [], ["none"]),
    ],
)
def test_foreign_pages_are_refused(hosts: list[str], origins: list[str], sites: list[str]) -> None:
    assert refused(hosts, origins, sites)


TEXTS = st.lists(st.text(max_size=20), max_size=2)


@given(TEXTS, TEXTS, TEXTS)
def test_anything_is_judged(hosts: list[str], origins: list[str], sites: list[str]) -> None:
    assert refused(hosts, origins, sites) in (True, False)


@pytest.mark.parametrize(
    ("allowed", "host", "is_admitted"),
    [
        ((), "desk.example", True),  # as a proxy passes it on that browsers reach at the usual port
        ((), "desk.example:8443", True),
        ((), "evil.example:8161", False),
        ((), "EVIL.example.:8161", False),
        ((), "localhost:8161", True),
        ((), "127.0.0.1:8161", True),
        ((), "10.0.0.5:8161", True),
        ((), "[::1]:8161", True),
        ((), "job.apps.example:8161", False),
        (("Desk.example",), "desk.example:8161", True),
        (("desk.example",), "desk.example.", True),
        (("desk.example",), "evil.example", False),
        (("desk.example",), "evil.example:9000", False),  # a port that is forwarded to the router's
        (("desk.example",), "localhost", True),
    ],
)
def test_the_hosts_of_proxies(allowed: tuple[str, ...], host: str, is_admitted: bool) -> None:
    hosts = ProxyHosts(allowed, "apps.example")
    assert hosts.admit(host, 8161, secure=False, is_traffic_of_names=False) is is_admitted


@pytest.mark.parametrize(("secure", "local_port"), [(False, 80), (True, 443)])
def test_a_host_without_a_port_has_the_usual_one(secure: bool, local_port: int) -> None:
    hosts = ProxyHosts()
    assert not hosts.admit("evil.example", local_port, secure=secure, is_traffic_of_names=False)
    assert hosts.admit("desk.example", local_port, secure=not secure, is_traffic_of_names=False)


def test_the_hosts_of_proxies_at_the_listener_of_the_jobs_names() -> None:
    hosts = ProxyHosts(("desk.example",), "apps.example")
    for host in ("job.apps.example", "job.apps.example:8161", "paths.example"):
        assert hosts.admit(host, 8161, secure=False, is_traffic_of_names=True)
    for host in ("evil.example:8161", "evilapps.example:8161"):
        assert not hosts.admit(host, 8161, secure=False, is_traffic_of_names=True)
