from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs import ports
from pagent.jobs.ports import ReportError, accepts, choose_ports, free_port, is_free, parse_report, until_accepts
from tests.jobs.conftest import PATIENCE_S

JOB = ("job_id", "j")


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


def test_a_free_port_is_not_one_that_is_spoken_for() -> None:
    class FirstTwo:
        def __init__(self) -> None:
            self.asked: list[object] = []

        def __contains__(self, port: object) -> bool:
            self.asked.append(port)
            return len(self.asked) <= 2

    taken = FirstTwo()
    port = free_port(taken)
    assert taken.asked[2:] == [port]
    with closing(socket.create_server((ports.HOST, port))):
        pass


def test_no_free_port() -> None:
    with pytest.raises(OSError, match="no free port"):
        free_port(range(65536))


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")]
)
def test_a_port_that_something_listens_on_is_not_free(family: socket.AddressFamily, host: str) -> None:
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no such address here")
    with listening:
        port = listening.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def choose(port: object, more: dict[str, object] | None = None, prefer: int | None = None, own: object = ()) -> object:
    return choose_ports(port, more or {}, prefer=prefer, taken=(), own=own)  # type: ignore[arg-type]


def test_the_ports_of_a_job() -> None:
    assert choose(None) == (None, {})
    assert choose(80) == (80, {})
    main, more = choose_ports("auto", {"a": 81, "b": "auto"}, prefer=None, taken=(), own=())
    assert more["a"] == 81
    assert len({main, *more.values()}) == 3


def test_the_preferred_port_where_it_is_free() -> None:
    wanted = free_port()
    assert choose("auto", prefer=wanted) == (wanted, {})
    assert choose(80, prefer=wanted) == (80, {})
    assert choose_ports("auto", {}, prefer=wanted, taken={wanted}, own=())[0] != wanted
    assert choose_ports("auto", {"a": wanted}, prefer=wanted, taken=(), own=())[0] != wanted
    with socket.create_server((ports.HOST, wanted)):
        assert choose_ports("auto", {}, prefer=wanted, taken=(), own=())[0] != wanted


def test_ports_that_a_job_cannot_have() -> None:
    for port, more in ((80, None), ("auto", {"a": 80})):
        with pytest.raises(ValueError, match="port 80 is the agent's own"):
            choose(port, more, own={80})
    with pytest.raises(ValueError, match="port 80 is given twice"):
        choose(80, {"a": 80})


async def test_accepts() -> None:
    with socket.socket() as listening:
        listening.bind((ports.HOST, 0))
        port = listening.getsockname()[1]
        assert not await accepts(port)
        listening.listen()
        assert await accepts(port)


async def test_a_socket_that_meets_itself_is_nobody_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(())

    class Bound(socket.socket):
        def __init__(self) -> None:
            super().__init__()
            self.bind((ports.HOST, port))

    with monkeypatch.context() as patched:  # the loop itself needs the real one when it ends
        patched.setattr(ports.socket, "socket", Bound)
        assert not await accepts(port)


async def test_until_accepts() -> None:
    with socket.socket() as listening:
        listening.bind((ports.HOST, 0))
        waiting = asyncio.ensure_future(until_accepts(listening.getsockname()[1]))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        listening.listen()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
