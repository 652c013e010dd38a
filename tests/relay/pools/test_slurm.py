"""A pool whose engine is Slurm, tried with a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.config.model import Settings
from tests.kit.pools import JOIN, has_arrived, job, keys_in, message_of, pool_of, requests, running_pools
from tests.kit.routers import ask
from tests.kit.slurm import Cluster, ClusterPlan, cluster, missing
from tests.kit.transfers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is a cluster")]

#: The deadline where Slurm does not set SLURM_JOB_END_TIME, as docs/clusters.rst has it.
DEADLINE = 'export SLURM_JOB_END_TIME=$(date -d "$(squeue -h -j $SLURM_JOB_ID -o %e)" +%s); exec "$@"'


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    """One node with one CPU."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    with cluster(folder, ClusterPlan(nodes=1)) as made:
        yield made


async def test_a_job_serves_and_one_that_waits_is_cancelled(slurm: Cluster, settings: Settings, tmp_path: Path) -> None:
    srun = ("srun", "--job-name=pagent-{rid}", "--cpus-per-task={cpus}", "--time={time}", "sh", "-c", DEADLINE, "sh")
    pool = pool_of("env", f"SLURM_CONF={slurm.environ['SLURM_CONF']}", *srun, *JOIN)
    async with running_pools(settings, keys_in(tmp_path), slurm=pool) as (router, host):
        first, second = job(), job()
        await router.pools.request("slurm", {"cpus": "1", "time": "30"}, first)
        await eventually(lambda: has_arrived(router, first.uid))
        answer = await ask(router.control_port, "GET", f"/jobs/-/{first.uid}/http/")
        assert answer.status == 200
        (agent,) = [agent for agent in router.directory.table if agent.uid != "login"]
        deadline = (await agent.call("host_info"))["deadline"]
        started_at = (await agent.call("job_info", first.uid))["started_at"]
        assert started_at + 1700 < deadline < started_at + 1801

        await router.pools.request("slurm", {"cpus": "1", "time": "29"}, second)
        waiting = requests(router.pools, "slurm")[-1]
        await eventually(lambda: "queued and waiting for resources" in message_of(router, second.uid))
        assert any(line.startswith(f"pagent-{waiting.rid} ") for line in slurm.queue())
        assert await router.pools.cancel(second.uid)
        await eventually(lambda: not any(waiting.rid in line for line in slurm.queue()))

        await agent.call("host_end", 1.0)
        await eventually(lambda: slurm.queue() == [] and not host.jobs.jobs())
