"""A pool whose engine is ssh, tried with an sshd of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pagent.config.model import Settings
from pagent.router import Router
from tests.kit.marked import Marked
from tests.kit.pools import JOIN, PACKAGE, has_arrived, job, keys_in, message_of, pool_of, running_pools
from tests.kit.routers import ask
from tests.kit.sshd import Sshd, missing, running_sshd
from tests.kit.transfers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is an sshd")]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    with running_sshd(folder) as made:
        yield made


class Remote(Marked):
    """The command of a pool, and the processes that it starts on both sides."""

    def __init__(self, sshd: Sshd) -> None:
        super().__init__()
        self.started = ("env", f"PYTHONPATH={PACKAGE}", *JOIN, *self.options)
        self.command = (*sshd.command, *self.started)

    def clients(self) -> list[psutil.Process]:
        """Return the ssh commands."""
        return self.running("ssh")


async def serving(router: Router, uid: str) -> bool:
    return (await ask(router.control_port, "GET", f"/jobs/-/{uid}/http/")).status == 200


async def test_a_job_serves_and_both_sides_end(sshd: Sshd, settings: Settings, tmp_path: Path) -> None:
    remote, wanted = Remote(sshd), job()
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*remote.command, idle_s=0.5)) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        assert await serving(router, wanted.uid)
        assert (len(remote.agents()), len(remote.clients())) == (1, 1)
        await router.directory.remove(wanted.uid)
        await eventually(lambda: not host.jobs.jobs() and not remote.agents() and not remote.clients())


async def test_an_agent_keeps_running_without_its_ssh_connection(
    sshd: Sshd, settings: Settings, tmp_path: Path
) -> None:
    remote, wanted = Remote(sshd), job()
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*remote.command, idle_s=0.5)) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        remote.clients()[0].kill()
        await eventually(lambda: all(each.state.name == "FINISHED" for each in host.jobs.jobs()))
        assert await serving(router, wanted.uid)
        await router.directory.remove(wanted.uid)
        await eventually(lambda: not host.jobs.jobs() and not remote.agents())


async def test_a_request_that_is_cancelled_ends_both_sides(sshd: Sshd, settings: Settings, tmp_path: Path) -> None:
    """The command on the other side has not started the agent yet: it is refused when it comes."""
    remote, wanted = Remote(sshd), job()
    refused = tmp_path / "refused"
    slow = (*sshd.command, "echo waiting; sleep 1;", *remote.started, f"; touch {refused}")
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*slow)) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: message_of(router, wanted.uid) == "waiting")
        assert await router.pools.cancel(wanted.uid)
        await eventually(lambda: not host.jobs.jobs() and not remote.clients())
        await eventually(lambda: refused.exists())
        assert not remote.agents()


async def test_a_host_that_refuses_is_named(sshd: Sshd, settings: Settings, tmp_path: Path) -> None:
    sshd.process.terminate()
    sshd.process.wait()
    remote, wanted = Remote(sshd), job()
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*remote.command)) as (router, _):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: "Connection refused" in message_of(router, wanted.uid))
