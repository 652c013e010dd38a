"""A pool whose engine is systemd-run, tried with a user manager of the test."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pagent.config.model import Settings
from pagent.jobs.model import State
from tests.kit import user_manager
from tests.kit.marked import Marked
from tests.kit.pools import JOIN, PACKAGE, has_arrived, job, keys_in, pool_of, running_pools, states
from tests.kit.routers import ask
from tests.kit.transfers import eventually
from tests.kit.user_manager import missing, running_manager

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is a user manager")]

#: As docs/clusters.rst has them.
RUN = ("systemd-run", "--user", "--pipe", "--wait", "--collect", "--quiet", "--unit=pagent-{rid}")
CLEANUP = ("systemctl", "--user", "stop", "pagent-{rid}*")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    folder = tmp_path / "run"
    folder.mkdir()
    with running_manager(folder) as variables:
        yield variables


class Units(Marked):
    """The command of a pool, and the processes that it starts."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__()
        environ = ("env", *(f"{name}={value}" for name, value in variables.items()))
        self.command = (*environ, *RUN, f"--setenv=PYTHONPATH={PACKAGE}", *JOIN, *self.options)
        self.cleanup = (*environ, *CLEANUP)


async def test_a_job_serves_and_all_ends(manager: Mapping[str, str], settings: Settings, tmp_path: Path) -> None:
    units, wanted = Units(manager), job()
    pool = pool_of(*units.command, cleanup=units.cleanup, idle_s=0.5)
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        assert (await ask(router.control_port, "GET", f"/jobs/-/{wanted.uid}/http/")).status == 200
        await router.directory.remove(wanted.uid)
        await eventually(lambda: not host.jobs.jobs() and not units.agents())


async def test_the_unit_of_a_command_that_was_killed_is_stopped(
    manager: Mapping[str, str], settings: Settings, tmp_path: Path
) -> None:
    """The manager does not end a unit with the systemd-run that has started it: the cleanup does."""
    units, wanted = Units(manager), job()
    at = units.command.index(JOIN[0])  # the unit waits before it starts the agent
    command = (*units.command[:at], "sh", "-c", "sleep 600", "sh", *units.command[at:])
    pool = pool_of(*command, cleanup=units.cleanup)
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: bool(units.running("sh")))
        for process in units.running("systemd-run"):
            process.kill()
        await eventually(lambda: states(router.pools) == ["ended"] and not units.running("sh"))
        (command_job,) = host.jobs.jobs()  # it keeps why the request has failed
        assert command_job.state is State.FINISHED


def test_a_manager_that_stands_still_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bus and its control groups end with it, also if the test within has failed."""
    monkeypatch.setattr(user_manager, "END_S", 0.2)
    folder = tmp_path / "run"
    folder.mkdir()
    before, started = _children(), set()

    def fail() -> None:
        with running_manager(folder):
            started.update(_children() - before)
            for process in started:
                if "systemd" in process.name():
                    process.send_signal(signal.SIGSTOP)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(started) >= 2
    assert not [process for process in started if _runs(process)]


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
