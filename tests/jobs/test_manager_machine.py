"""The job manager against a model: any sequence of operations of connections, with real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from pagent.errors import JobInvalidStateError, JobNotFoundError
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.jobs.ports import ReportError
from pagent.jobs.tree import become_subreaper
from tests.jobs.conftest import PATIENCE_S, is_alive, owner

T = TypeVar("T")

#: Connections by name, and the realm (the token) of each.
REALMS = {"a1": "a", "a2": "a", "b1": "b"}
#: Uids that connections choose.
UIDS = ["a" * 32, "b" * 32]
connections = st.sampled_from(sorted(REALMS))


def of(connection: str) -> Any:
    return owner(connection, REALMS[connection])


def secret_of(job: Job) -> str:
    """Return the secret that names a job in its port reports; empty if it has no process."""
    try:
        variables = Path(f"/proc/{job.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = b"DA__PAGENT__JOB_ID="
    return next((entry[len(prefix) :].decode() for entry in variables if entry.startswith(prefix)), "")


@dataclass
class Expected:
    """The model of a job."""

    job: Job
    connection: str
    lingers: bool
    state: str = "NEW"
    exit_code: int | None = None
    signal: str | None = None
    starting: asyncio.Task[None] | None = None
    #: Its connection is gone.
    orphan: bool = field(default=False)

    @property
    def runs(self) -> bool:
        return self.state in ("PENDING", "RUNNING")


class Machine(RuleBasedStateMachine):
    """Each rule is one step of the manager and of the model."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        become_subreaper()
        self.root = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.port = socket.create_server(("127.0.0.1", 0))
        self.manager = self.run(self.make())
        self.model: dict[str, Expected] = {}
        self.removed: set[str] = set()

    async def make(self) -> JobManager:
        manager = JobManager(root=self.root, properties={}, port_ownership="off")
        manager.endpoint = "http://127.0.0.1:1/job_started"
        return manager

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE_S):
                return await step

        return self.runner.run(bounded())

    async def created(self, connection: str, **terms: Any) -> Job:
        return self.manager.create(of(connection), "name", **terms)

    async def start(self, known: Expected, script: str, ports: int) -> None:
        await self.manager.start(known.job, ["sh", "-c", script], None, None, ports)

    # --- steps --------------------------------------------------------------------------------------

    @rule(target=jobs, connection=connections, linger=st.sampled_from([None, 0.0, 600.0]))
    def create(self, connection: str, linger: float | None) -> Expected:
        job = self.run(self.created(connection, linger=linger))
        self.model[job.uid] = Expected(job, connection, bool(linger))
        return self.model[job.uid]

    @rule(target=jobs, connection=connections, uid=st.sampled_from(UIDS))
    def create_with_a_uid(self, connection: str, uid: str) -> Any:
        known = self.model.get(uid)
        if known is not None and REALMS[known.connection] == REALMS[connection]:
            assert self.run(self.created(connection, uid=uid)) is known.job
            return multiple()
        if known is not None or uid in self.removed:
            with pytest.raises(JobInvalidStateError):
                self.run(self.created(connection, uid=uid))
            return multiple()
        job = self.run(self.created(connection, uid=uid))
        assert job.uid == uid
        self.model[uid] = Expected(job, connection, lingers=False)
        return self.model[uid]

    @rule(known=jobs)
    def start_one_that_runs(self, known: Expected) -> None:
        if known.state == "NEW":
            self.run(self.start(known, "exec sleep 1000", 0))
            known.state = "RUNNING"
        else:
            with pytest.raises(JobInvalidStateError):
                self.run(self.start(known, "exec sleep 1000", 0))

    @rule(known=jobs, code=st.integers(0, 255))
    def start_one_that_exits(self, known: Expected, code: int) -> None:
        if known.state == "NEW":
            self.run(self.start(known, f"exit {code}", 0))
            self.run(self.manager.wait(known.job))
            known.state, known.exit_code = "FINISHED", code

    @rule(known=jobs)
    def start_one_that_waits(self, known: Expected) -> None:
        if known.state != "NEW":
            return

        async def pending() -> None:
            known.starting = asyncio.create_task(self.start(known, "exec sleep 1000", 1))
            while known.job.pid is None:  # noqa: ASYNC110 - made within a few turns of the loop
                await asyncio.sleep(0)

        self.run(pending())
        known.state = "PENDING"

    @rule(known=jobs)
    def report(self, known: Expected) -> None:
        params = [("job_id", secret_of(known.job)), ("port", str(self.port.getsockname()[1]))]
        if known.state != "PENDING":
            with pytest.raises(ReportError):
                self.run(self.manager.report_port(params))
            return
        self.run(self.manager.report_port(params))
        assert known.starting is not None
        self.run(self.ended(known.starting))
        assert known.starting.exception() is None
        known.state, known.starting = "RUNNING", None

    @staticmethod
    async def ended(task: asyncio.Task[None]) -> None:
        await asyncio.wait([task])

    @rule(known=jobs, name=st.sampled_from(["TERM", "KILL", "SIGINT"]))
    def kill(self, known: Expected, name: str) -> None:
        if known.runs:
            self.run(self.manager.kill(known.job, name))
            known.state, known.signal = "FINISHED", "SIG" + name.removeprefix("SIG")
            self.start_failed(known)
        else:
            with pytest.raises(JobInvalidStateError):
                self.run(self.manager.kill(known.job, name))

    def start_failed(self, known: Expected) -> None:
        if known.starting is not None:
            self.run(self.ended(known.starting))
            assert known.starting.exception() is not None
            known.starting = None

    @rule(known=consumes(jobs))
    def remove(self, known: Expected) -> None:
        self.run(self.manager.remove(known.job))
        self.is_gone(known)

    def is_gone(self, known: Expected) -> None:
        known.state = "CLOSED"
        self.start_failed(known)
        self.model.pop(known.job.uid, None)
        self.removed.add(known.job.uid)
        ended = self.manager.ended.of_realm(known.job.owner.realm)
        assert known.job.uid in [found.info["uid"] for found in ended]
        assert not known.job.sandbox.path.exists()

    @rule(known=jobs, connection=connections)
    def adopt(self, known: Expected, connection: str) -> None:
        if known.state != "CLOSED" and REALMS[connection] == REALMS[known.connection]:
            self.manager.adopt(known.job, of(connection))
            known.connection, known.orphan = connection, False
        else:
            with pytest.raises(JobNotFoundError):
                self.manager.adopt(known.job, of(connection))

    @rule(connection=connections)
    def lose(self, connection: str) -> None:
        self.run(self.manager.drop_owner(of(connection)))
        for known in list(self.model.values()):
            if known.connection == connection and not known.orphan:
                known.orphan = True
                if not known.lingers:
                    self.is_gone(known)

    # --- invariants ---------------------------------------------------------------------------------

    @invariant()
    def manager_and_model_agree(self) -> None:
        for known in self.model.values():
            job = known.job
            assert (job.state.value, job.exit_code, job.signal) == (known.state, known.exit_code, known.signal)
            assert job.process_ended.is_set() is not known.runs
            assert job.pid is None or is_alive(job.pid) is known.runs
            assert job.sandbox.path.is_dir()

    @invariant()
    def each_sees_the_jobs_of_its_realm(self) -> None:
        for connection, realm in REALMS.items():
            mine = [uid for uid, known in self.model.items() if REALMS[known.connection] == realm]
            assert [job.uid for job in self.manager.registry.of_realm(of(connection).realm)] == mine
            count = sum(known.connection == connection for known in self.model.values())
            assert len(self.manager.registry.of_owner(of(connection))) == count

    def teardown(self) -> None:
        now = asyncio.Event()
        now.set()
        try:
            self.run(self.manager.shutdown(now=now))
            for known in self.model.values():
                self.start_failed(known)
                assert known.job.pid is None or not is_alive(known.job.pid)
            assert os.listdir(self.root) == []
        finally:
            self.runner.close()
            self.port.close()
            become_subreaper(False)
            shutil.rmtree(self.root)


@pytest.mark.skipif(not become_subreaper(False), reason="no subreapers here")
def test_the_manager_and_the_model() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
