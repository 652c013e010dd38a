from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs import ports
from pagent.jobs.given_ports import free_port
from pagent.jobs.ports import ReportError, accepts, parse_report, until_listening
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S

JOB = ("job_id", "j")
HOST = "127.0.0.1"


def listening_at(family: socket.AddressFamily, host: str) -> socket.socket:
    try:
        return socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no such address here")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ([], "missing parameter: job_id"),
        ([JOB], "missing parameter: port"),
        ([("port", "80")], "missing parameter: job_id"),
        ([JOB, ("port", "80"), ("port", "80")], "repeated parameter: port"),
        ([JOB, JOB, ("port", "80")], "repeated parameter: job_id"),
        ([JOB, ("port", "80"), ("x", "")], "further parameter"),
        ([JOB, ("port", "80"), ("", "")], "further parameter"),
        ([JOB, ("Port", "80")], "further parameter"),
        *[
            ([JOB, ("port", text)], "bad port")
            for text in ("", "0", "65536", "-1", "+80", " 80", "80 ", "8_0", "0x50", "٨٠", "²", "000080", "9" * 5000)
        ],
    ],
)  # fmt: skip
def test_reports_that_are_refused(params: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(ReportError, match=f"^{reason}"):
        parse_report(params)


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_a_good_report_in_any_order(port: int) -> None:
    assert parse_report([JOB, ("port", str(port))]) == ("j", port)
    assert parse_report([("port", str(port)), JOB]) == ("j", port)


@given(st.lists(st.tuples(st.sampled_from(["job_id", "port", "x"]) | st.text(), st.text())))
def test_any_query_is_a_report_or_refused(params: list[tuple[str, str]]) -> None:
    try:
        uid, port = parse_report(params)
    except ReportError:
        return
    assert sorted(params) == sorted([("job_id", uid), ("port", dict(params)["port"])])
    assert 1 <= port <= 65535


@given(st.text(), st.integers(-10, 70_000))
def test_a_number_is_a_port_in_its_range(uid: str, number: int) -> None:
    params = [("job_id", uid), ("port", str(number))]
    if 1 <= number <= 65535:
        assert parse_report(params) == (uid, number)
    else:
        with pytest.raises(ReportError):
            parse_report(params)


async def test_accepts() -> None:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        port = listening.getsockname()[1]
        assert not await accepts(port)
        listening.listen()
        assert await accepts(port)


async def test_a_socket_that_meets_itself_is_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    class Bound(socket.socket):
        def __init__(self, family: socket.AddressFamily) -> None:
            super().__init__(family)
            self.bind(("::1" if family == socket.AF_INET6 else HOST, port))

    with monkeypatch.context() as patched:  # the loop itself needs the real one when it ends
        patched.setattr(ports.socket, "socket", Bound)
        assert not await accepts(port)


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")]
)
async def test_accepts_on_either_loopback_address(family: socket.AddressFamily, host: str) -> None:
    with listening_at(family, host) as listening:
        assert await accepts(listening.getsockname()[1])


LISTENERS = [
    (socket.AF_INET, "127.0.0.1", False),
    (socket.AF_INET, "", False),
    (socket.AF_INET6, "::1", False),
    (socket.AF_INET6, "::", False),
    (socket.AF_INET6, "::", True),
    (socket.AF_INET6, "::ffff:127.0.0.1", True),
]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a table of sockets")
@pytest.mark.parametrize(("family", "host", "dual"), LISTENERS)
async def test_a_listener_is_seen_without_a_connection(
    threads: ThreadPool, family: socket.AddressFamily, host: str, dual: bool
) -> None:
    with socket.socket(family) as listening:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listening.bind((host, 0))
        waiting = asyncio.ensure_future(until_listening(listening.getsockname()[1], threads))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        listening.listen(1)
        listening.setblocking(False)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_without_a_table_it_connects(threads: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports.sockets, "listeners", lambda port: None)
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        waiting = asyncio.ensure_future(until_listening(listening.getsockname()[1], threads))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        listening.listen()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        listening.accept()[0].close()
