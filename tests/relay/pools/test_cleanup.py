"""The cleanup command of a pool: which one cancels the jobs of Slurm's commands, and when it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, PoolHost
from pagent.relay.pools.cleanup import slurm_cleanup, with_cleanup
from tests.kit.pools import HOST, job, keys_in, pool_of, requests, running_host, running_pools, states
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.transfers import eventually


@pytest.mark.parametrize(
    ("command", "cleanup"),
    [
        ("srun --job-name=pagent-{rid} x", "scancel --quiet --name=pagent-{rid}"),
        ("srun -p main --job-name {rid} x", "scancel --quiet --name={rid}"),
        ("srun -J a-{rid} x", "scancel --quiet --name=a-{rid}"),
        ("srun -Ja-{rid} x", "scancel --quiet --name=a-{rid}"),
        ("/opt/slurm/bin/srun -J {rid} x", "/opt/slurm/bin/scancel --quiet --name={rid}"),
        ("env SLURM_CONF=/c srun -J {rid} x", "env SLURM_CONF=/c scancel --quiet --name={rid}"),
        ("ssh login1 salloc -J {rid} srun x", "ssh login1 scancel --quiet --name={rid}"),
        ("srun -J pagent x", ""),
        ("srun x", ""),
        ("srun -J", ""),
        ("ssh node7 x", ""),
    ],
)
def test_of_commands(command: str, cleanup: str) -> None:
    assert slurm_cleanup(command.split()) == cleanup.split()


def test_a_configured_one_stays() -> None:
    pool = pool_of("srun", "-J{rid}", cleanup=("true",), on=PoolHost(uid="a"))
    assert with_cleanup(pool) is pool
    assert with_cleanup(pool_of("srun", "-J{rid}")).cleanup == ("scancel", "--quiet", "--name={rid}")


async def test_one_that_fails_is_run_again(settings: Settings, tmp_path: Path) -> None:
    """An engine that is out of reach for a while still has the request."""
    runs = tmp_path / "runs"
    cleanup = ("sh", "-c", f"echo {{rid}} >> {runs}; test $(wc -l < {runs}) -eq 2")
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("true", cleanup=cleanup)) as (router, host):
        await router.pools.request("p", {}, job())
        await eventually(lambda: states(router.pools) == ["ended"])
        (view,) = requests(router.pools)
        assert runs.read_text().splitlines() == [view.rid, view.rid]
        assert await router.pools.cancel(view.job.uid)
        await eventually(lambda: not host.jobs.jobs())


async def test_it_runs_although_the_command_is_lost(settings: Settings, tmp_path: Path) -> None:
    """The agent of the command ends, and comes back without its jobs."""
    cleaned = tmp_path / "cleaned"
    pool = pool_of("sleep", "600", cleanup=("sh", "-c", f"echo {{rid}} > {cleaned}"))
    access = Access(keys_file=keys_in(tmp_path))
    async with running_router(router_settings(access=access, pools={"p": pool})) as router:
        async with running_host(settings, router.server_port):
            await connected(router, HOST)
            await router.pools.request("p", {}, job())
            await eventually(lambda: states(router.pools) == ["queued"])
        async with running_host(settings, router.server_port):
            await eventually(lambda: states(router.pools) == ["ended"])
            assert cleaned.read_text() == f"{requests(router.pools)[0].rid}\n"
