"""A pool whose engine is Slurm, tried with a cluster of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.relay.pools import driver
from pagent.router import Router
from pagent.rpc.pool_job import PoolJob
from tests.kit.marked import Marked
from tests.kit.pools import JOIN, has_arrived, job, keys_in, message_of, pool_of, requests, running_pools
from tests.kit.routers import ask
from tests.kit.site import Site, holds, running_site
from tests.kit.slurm import Cluster, ClusterPlan, cluster, missing
from tests.kit.transfers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is a cluster")]

#: The deadline where Slurm does not set SLURM_JOB_END_TIME, as docs/clusters.rst has it.
DEADLINE = 'export SLURM_JOB_END_TIME=$(date -d "$(squeue -h -j $SLURM_JOB_ID -o %e)" +%s); exec "$@"'
SRUN = ("srun", "--job-name=pagent-{rid}", "--partition={partition}", "--cpus-per-task={cpus}", "--time={time}")
#: Two nodes; the same ones, which are closed; and one that jobs of ``high`` take from those of ``low``.
PLAN = ClusterPlan(
    nodes=3,
    partitions=(
        "PartitionName=main Nodes=n[0-1] Default=YES MaxTime=60 State=UP",
        "PartitionName=closed Nodes=n[0-1] MaxTime=60 State=DOWN",
        "PartitionName=low Nodes=n2 MaxTime=60 State=UP PriorityTier=1 PreemptMode=CANCEL",
        "PartitionName=high Nodes=n2 MaxTime=60 State=UP PriorityTier=10",
    ),
    options=(
        "PreemptType=preempt/partition_prio",
        "PreemptMode=CANCEL",
        "SlurmdTimeout=10",
        "MessageTimeout=4",
        "KillWait=1",
    ),
)
QUEUED = {"cpus": "1", "time": "30", "partition": "closed"}
MAIN = {"cpus": "1", "time": "30", "partition": "main"}
LOW = {"cpus": "1", "time": "30", "partition": "low"}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm"), PLAN) as made:
        yield made


class Pool(Marked):
    """A pool of this cluster, with its router, the agent of its login node, and its processes."""

    def __init__(self, slurm: Cluster) -> None:
        super().__init__()
        self.slurm = slurm
        self.command = (
            *("env", f"SLURM_CONF={slurm.environ['SLURM_CONF']}", f"PATH={slurm.environ['PATH']}"),
            *(*SRUN, "sh", "-c", DEADLINE, "sh", *JOIN, *self.options),
        )
        self.router: Router
        self.host: Agent

    async def request(self, wanted: PoolJob, values: dict[str, str]) -> str:
        """Ask for an agent; return the id of the request."""
        await self.router.pools.request("slurm", values, wanted)
        return next(each.rid for each in requests(self.router.pools, "slurm") if each.job.uid == wanted.uid)

    def message(self, wanted: PoolJob) -> str:
        return message_of(self.router, wanted.uid)

    def has_failed(self, wanted: PoolJob) -> bool:
        record = self.router.directory.jobs.get(wanted.uid)
        return record is not None and record.state == "FINISHED"

    async def serves(self, wanted: PoolJob) -> bool:
        return (await ask(self.router.control_port, "GET", f"/jobs/-/{wanted.uid}/http/")).status == 200

    async def start(self, wanted: PoolJob, values: dict[str, str]) -> str:
        """Ask for an agent, and wait until the job serves; return the id of the request."""
        rid = await self.request(wanted, values)
        await eventually(lambda: has_arrived(self.router, wanted.uid) or self.has_failed(wanted))
        assert await self.serves(wanted), self.message(wanted)
        return rid

    def is_gone(self) -> bool:
        """Whether nothing is left in the queue and of processes. The reason of a failure is kept with the command."""
        ended = all(each.state.name == "FINISHED" for each in self.host.jobs.jobs())
        return ended and self.slurm.queue() == [] and not self.agents() and not self.running("srun")


@pytest.fixture
def pool(slurm: Cluster) -> Pool:
    return Pool(slurm)


@asynccontextmanager
async def running(pool: Pool, settings: Settings, tmp_path: Path, **options: Any) -> AsyncIterator[None]:
    configured = pool_of(*pool.command, **options)
    async with running_pools(settings, keys_in(tmp_path), slurm=configured) as (pool.router, pool.host):
        yield
        await eventually(pool.is_gone)


async def test_a_job_serves_and_its_agent_knows_the_deadline(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    wanted = job()
    async with running(pool, settings, tmp_path):
        await pool.start(wanted, MAIN)
        (agent,) = [agent for agent in pool.router.directory.table if agent.uid != "login"]
        deadline = (await agent.call("host_info"))["deadline"]
        started_at = (await agent.call("job_info", wanted.uid))["started_at"]
        assert started_at + 1700 < deadline < started_at + 1801
        await agent.call("host_end", 1.0)


async def test_a_job_that_waits_says_so_and_is_cancelled(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    wanted, wrong = job(), job()
    async with running(pool, settings, tmp_path):
        rid = await pool.request(wanted, QUEUED)
        await eventually(lambda: "queued and waiting for resources" in pool.message(wanted))
        assert pool.slurm.queue() == [f"pagent-{rid} PENDING"]
        await pool.request(wrong, {**MAIN, "partition": "none"})
        await eventually(lambda: pool.has_failed(wrong))
        assert "invalid partition specified: none" in pool.message(wrong)
        assert await pool.router.pools.cancel(wanted.uid)


@pytest.mark.parametrize("values", [QUEUED, MAIN])
async def test_srun_is_killed(pool: Pool, settings: Settings, tmp_path: Path, values: dict[str, str]) -> None:
    """Also the process with which srun watches itself: Slurm keeps the job then, and nothing but scancel ends it."""
    wanted = job()
    async with running(pool, settings, tmp_path):
        if values is MAIN:
            await pool.start(wanted, values)
        else:
            await pool.request(wanted, values)
            await eventually(lambda: "queued" in pool.message(wanted))
        for process in pool.running("srun"):
            process.kill()
        if values is MAIN:  # the agent goes on as long as it has a job
            await eventually(lambda: all(each.state.name == "FINISHED" for each in pool.host.jobs.jobs()))
            for agent in pool.agents():
                agent.terminate()
        await eventually(lambda: pool.has_failed(wanted))


async def test_the_allocation_is_cancelled(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    first, second = job(), job()
    async with running(pool, settings, tmp_path):
        queued = await pool.request(first, QUEUED)
        await eventually(lambda: "queued" in pool.message(first))
        running_id = await pool.start(second, MAIN)
        for rid in (queued, running_id):
            pool.slurm.run("scancel", f"--name=pagent-{rid}")
        await eventually(lambda: "Job has been cancelled" in pool.message(first))
        await eventually(lambda: "its agent has ended" in pool.message(second))


async def test_a_controller_that_stands_still_ends_nothing(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    """A request that is cancelled meanwhile leaves the queue when the controller is back."""
    waiting, serving = job(), job()
    async with running(pool, settings, tmp_path, idle_s=1.0):
        await pool.request(waiting, QUEUED)
        await pool.start(serving, MAIN)
        controller = pool.slurm.daemons["slurmctld"]
        controller.send_signal(signal.SIGSTOP)
        try:
            assert await pool.router.pools.cancel(waiting.uid)
            await eventually(lambda: not pool.running("srun")[2:])  # srun cannot end its job, and is killed or gives up
            assert await pool.serves(serving)
        finally:
            controller.send_signal(signal.SIGCONT)
        await eventually(lambda: len(pool.slurm.queue()) == 1)
        assert await pool.serves(serving)
        await pool.router.directory.remove(serving.uid)


async def test_the_join_token_is_nowhere_to_be_read(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    """The test alone keeps it, by a command that copies its standard input."""
    wanted, given = job(), tmp_path / "given"
    pool.command = ("sh", "-c", f'tee {given} | "$@"', "sh", *pool.command)
    async with running(pool, settings, tmp_path, idle_s=0.5):
        rid = await pool.start(wanted, MAIN)
        token = json.loads(given.read_text())["token"]
        assert token not in pool.slurm.run("scontrol", "--details", "show", "job", pool.slurm.job_id(f"pagent-{rid}"))
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                assert token not in " ".join(process.cmdline()) + str(process.environ())
        for folder, _, names in os.walk(pool.slurm.folder):
            for file in (Path(folder, name) for name in names):
                assert not file.is_file() or token.encode() not in file.read_bytes(), file
        await pool.router.directory.remove(wanted.uid)


# --- a router and a login node that are processes ---------------------------------------------------


@asynccontextmanager
async def running_processes(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Site]:
    pool = {"command": [*SRUN, "sh", "-c", DEADLINE, "sh", *JOIN], "idle_s": 1}
    async with running_site(tmp_path, {"slurm": pool}, slurm.environ) as site:
        yield site

        async def is_gone() -> bool:
            return slurm.queue() == [] and not site.processes()

        await holds(is_gone)


async def test_the_router_is_killed(slurm: Cluster, tmp_path: Path) -> None:
    async with running_processes(slurm, tmp_path) as site:
        waiting, serving = await site.create("slurm", **QUEUED), await site.create("slurm", **MAIN)
        await site.until(serving, "RUNNING")
        site.router.signal(signal.SIGKILL)
        await site.router.process.wait()
        await site.start_router()
        await site.until(serving, "RUNNING")
        assert await site.serves(serving)
        await site.until(waiting, "QUEUED")
        for uid in (waiting, serving):
            assert (await site.ask("DELETE", f"/v1/jobs/{uid}")).status == 204


async def test_the_login_node_and_the_router_are_killed(slurm: Cluster, tmp_path: Path) -> None:
    """No process knows the requests any more: the commands end with the agent that ran them."""
    async with running_processes(slurm, tmp_path) as site:
        await site.create("slurm", **QUEUED)
        await site.until(await site.create("slurm", **MAIN), "RUNNING")
        for each in (site.login, site.router):
            each.signal(signal.SIGKILL)
            await each.process.wait()
        await site.start_router()
        await site.start_login()


async def test_a_job_is_preempted_and_a_step_is_killed(
    pool: Pool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of either. Slurm takes seconds for both, so they happen at once.

    The agent of the step, which is not ended with it, is used as long as it is needed; its srun waits for ever.
    """
    monkeypatch.setattr(driver, "LEFT_S", 1.0)
    preempted, wanted = job(), job()
    async with running(pool, settings, tmp_path, idle_s=0.5):
        await pool.start(preempted, LOW)
        rid = await pool.start(wanted, MAIN)
        other = asyncio.create_task(asyncio.to_thread(pool.slurm.run, "srun", "--partition=high", "hostname"))
        (step,) = pool.slurm.steps(f"pagent-{rid}")
        step.kill()
        assert await pool.serves(wanted)
        await pool.router.directory.remove(wanted.uid)
        await eventually(lambda: "its agent has ended" in pool.message(preempted))
        await other
