"""Ports that are given to jobs: free ones, each to one job."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from pagent.jobs import given_ports
from pagent.jobs.given_ports import GivenPorts, free_port, is_free

HOST = "127.0.0.1"


def test_a_free_port_is_not_one_that_is_refused() -> None:
    asked: list[int] = []

    def third(port: int) -> bool:
        asked.append(port)
        return len(asked) == 3

    port = free_port(third)
    assert asked[2:] == [port]
    assert len(set(asked)) == 3
    with socket.create_server((HOST, port)):
        pass


def test_no_free_port() -> None:
    with pytest.raises(OSError, match="no free port"):
        free_port(lambda port: False)


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


def test_the_ports_of_a_job() -> None:
    given = GivenPorts()
    assert given.choose(None, {}) == (None, {})
    assert given.choose(80, {}) == (80, {})
    main, more = given.choose("auto", {"a": 81, "b": "auto"})
    assert main is not None
    assert more["a"] == 81
    assert len({main, *more.values()}) == 3
    given.release([main, *more.values()])


def test_the_preferred_port_where_it_is_free() -> None:
    given = GivenPorts()
    wanted = free_port()

    def preferred(more: dict[str, int] | None = None) -> int | None:
        main, others = given.choose("auto", more or {}, prefer=wanted)
        assert main is not None
        given.release([main, *others.values()])
        return main

    assert preferred() == wanted
    assert given.choose(80, {}, prefer=wanted) == (80, {})
    assert preferred({"a": wanted}) != wanted
    with socket.create_server((HOST, wanted)):
        assert preferred() != wanted
    assert given.choose(wanted, {}) == (wanted, {})
    assert preferred() != wanted
    given.release([wanted])
    assert preferred() == wanted


def test_ports_that_a_job_cannot_have() -> None:
    given = GivenPorts()
    for port, more in ((80, {}), ("auto", {"a": 80})):
        with pytest.raises(ValueError, match="port 80 is the agent's own"):
            given.choose(port, more, own={80})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="port 80 is given twice"):
        given.choose(80, {"a": 80})


def test_none_of_several_is_kept_if_not_all_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    given = GivenPorts()
    tries = iter([4711])

    def few(may_have: object) -> int:
        try:
            return next(tries)
        except StopIteration:
            raise OSError("no free port was found") from None

    monkeypatch.setattr(given_ports, "free_port", few)
    with pytest.raises(OSError, match="no free port"):
        given.choose("auto", {"a": "auto"})
    monkeypatch.setattr(given_ports, "free_port", lambda may_have: 4711 if may_have(4711) else 0)
    assert given.choose("auto", {}) == (4711, {})
    given.release([4711])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs abstract names")
def test_no_two_agents_give_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = free_port()
    monkeypatch.setattr(given_ports, "_any_port", lambda probes: candidate)
    one, other = GivenPorts(), GivenPorts()
    assert one.choose("auto", {}) == (candidate, {})
    for given in (one, other):
        with pytest.raises(OSError, match="no free port"):
            given.choose("auto", {})
    one.release([candidate])
    assert other.choose("auto", {}) == (candidate, {})
    other.release([candidate, candidate])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs abstract names")
def test_a_name_ends_with_its_process() -> None:
    code = (
        "from pagent.jobs.given_ports import GivenPorts; g = GivenPorts(); print(g.choose('auto', {})[0], flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "; input()"], input="\n", capture_output=True, text=True, check=True
    )
    given = GivenPorts()
    port = int(done.stdout)
    assert given.choose("auto", {}, prefer=port) == (port, {})
    given.release([port])
