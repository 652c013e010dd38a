"""All jobs of one agent, from their creation to the end of the agent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pagent import limits
from pagent.config.model import IsolationSettings
from pagent.errors import JobInvalidStateError
from pagent.jobs.admission import Admission
from pagent.jobs.adopted import AdoptedProcesses
from pagent.jobs.command import property_variables, seconds
from pagent.jobs.ended import EndedJobs, note_removal
from pagent.jobs.exec import ExecProcess, ExecUser
from pagent.jobs.folders import AllowedFolders
from pagent.jobs.isolation import Confinement
from pagent.jobs.keeper_client import KeeperClient
from pagent.jobs.launch import Host, JobThreads
from pagent.jobs.lingering import Lingering
from pagent.jobs.model import Input, Job, Owner, State
from pagent.jobs.notes import NoteBudget
from pagent.jobs.orphans import AgentFolder, sweep
from pagent.jobs.output_times import OutputClock
from pagent.jobs.owner_links import OwnerLinks
from pagent.jobs.ownership import Ownership, PortOwnership
from pagent.jobs.registry import JobRegistry
from pagent.jobs.removals import Removals
from pagent.jobs.reports import take_report
from pagent.jobs.run import Run
from pagent.jobs.sandbox import Sandbox
from pagent.jobs.signames import signal_name, signal_number
from pagent.jobs.starting import Starter, TerminalSize
from pagent.jobs.terms import check_terms
from pagent.jobs.trees import Trees
from pagent.runtime.rounds import Rounds
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: Signals that end a job: the whole tree gets them, and KILL after the grace.
_ENDING_SIGNALS: Final = frozenset(("SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL"))

_NOT_ISOLATED: Final = IsolationSettings()


class JobManager:
    """Creates jobs, runs them, and removes them with all that they started.

    ``root``: the folder of the agents' folders. ``properties``: the configured ones, by their names without
    prefix; ValueError if an environment cannot hold them. ``port_ownership``: 'off', 'warn' or 'enforce'.
    ``max_output_bytes``: cap on each output file of a job. ``isolation``: ConfigError if it cannot be had.
    ``allow_folders``: absolute paths, outside of the sandboxes, that jobs may run in. OSError if there can be no folder
    in ``root``. ``max_jobs``: at a time; None without a limit.
    Made and used in the thread of a running loop.
    """

    def __init__(
        self,
        *,
        root: Path,
        properties: Mapping[str, str],
        port_ownership: Ownership = "warn",
        max_output_bytes: int | None = None,
        isolation: IsolationSettings = _NOT_ISOLATED,
        allow_folders: Sequence[str] = (),
        max_jobs: int | None = None,
    ) -> None:
        # For life.
        self._runs: dict[str, Run] = {}
        self.properties = property_variables(properties)
        self._confinement = Confinement(isolation)
        self._folder = AgentFolder.create(Path(root))
        if self._confinement.user_id is not None:
            self._folder.path.chmod(0o711)  # to pass through, not to look around
        self._trees = Trees()
        self._tasks = TaskOwner("jobs")
        self._keeper = KeeperClient(self._trees, self._folder.record_keeper)
        self._threads = JobThreads.create()
        self._clock = OutputClock()
        self.ownership = PortOwnership(
            port_ownership, self._confinement.user_id, self._pids, self._runs, self._threads.ports
        )
        self._host = Host(
            self._trees,
            self._keeper,
            self._tasks,
            self._threads,
            self.ownership,
            self._folder.record,
            max_output_bytes,
            self._confinement,
            AllowedFolders(allow_folders),
            self._clock,
        )
        self._adopted = AdoptedProcesses(self._trees, self._threads.processes, self._tasks)

        # Set once the agent listens.
        #: Full URL of the port report.
        self.endpoint = ""
        #: The agent's own ports, refused as a job's.
        self.agent_ports: Final[set[int]] = set()
        self._starter = Starter(self._runs, self._host, self.agent_ports)

        # For each job.
        self.registry: Final = JobRegistry()
        self._notes = NoteBudget()
        #: The jobs that were removed lately.
        self.ended: Final = EndedJobs()
        #: Look-up of a job, as of ``JobRegistry.get``.
        self.get: Final = self.registry.get
        self.links: Final = OwnerLinks()
        #: A removal takes the loop some tenths of a millisecond: those of many jobs take turns.
        self._rounds: Final = Rounds()
        self._removals = Removals(self._runs, self._host, self._rounds, self._forget, self.ended)
        self._lingering = Lingering(self._tasks, self._rounds, self._removal)

        # The end.
        self.admission: Final = Admission(max_jobs)
        self._closed = asyncio.Event()

    async def clean_up(self, root: Path) -> None:
        """End the processes of dead agents whose folders are in ``root``, and delete these folders."""
        await self._threads.removals.run(sweep, root)

    # --- jobs -------------------------------------------------------------------------------------

    def create(self, owner: Owner, name: object = None, *, heeds_cordon: bool = False, **terms: Any) -> Job:
        """Make a job with an empty sandbox; with the ``uid`` of a job of the owner's realm, return that job.

        ``terms``: further ones of ``check_terms``. ``heeds_cordon``: whether a cordon refuses the job.
        TypeError or ValueError for a wrong argument, OSError if there can be no sandbox, JobInvalidStateError if the
        agent takes no new job or the uid is not free.
        """
        checked = check_terms(name, **terms)
        owner.require_owner()
        if checked.uid is not None:
            known = self.registry.find(checked.uid)
            if known is not None and known.owner.realm == owner.realm:
                return known
        self.admission.require_room(len(self.registry), heeds_cordon=heeds_cordon)
        if checked.uid is None:
            uid = secrets.token_hex(16)
        else:
            uid = checked.uid
            self._require_unused(uid)
            self.ended.forget(uid)
        sandbox = Sandbox.create(self._folder.there(), uid)
        job = Job(uid, checked, owner, sandbox, lambda: self._runs[uid].usage(), self._notes, self.registry)
        self.registry.add(job)
        return job

    def _require_unused(self, uid: str) -> None:
        self.registry.require_unused(uid)
        if uid in self._runs or self._removals.of(uid) is not None:
            raise JobInvalidStateError(f"job {uid!r} is being removed")

    def jobs(self) -> list[Job]:
        """Return all jobs, of all owners, oldest first."""
        return self.registry.all()

    def adopt(self, job: Job, owner: Owner) -> None:
        """Make the job the owner's. JobNotFoundError if it is of another realm or gone."""
        self.get(job.uid, owner)
        owner.require_owner()
        job.owner = owner
        self._lingering.stop(job)

    # --- the links of owners ----------------------------------------------------------------------

    def link_made(self, owner: Owner) -> None:
        """Count a link of the owner; its lingering jobs stay."""
        self.links.made(owner)
        for job in self.registry.of_owner(owner):
            self._lingering.stop(job)

    async def drop_owner(self, owner: Owner) -> None:
        """Remove the jobs of an owner without a link, or let them linger as long as they were created to."""
        gone: list[Job] = []
        for job in self.registry.of_owner(owner):
            if job in self._lingering:
                continue
            if job.terms.linger_s and not self.admission.is_ending:
                self._lingering.begin(job, job.terms.linger_s)
            else:
                gone.append(job)
        # While one waits for its turn it may be adopted, or its owner may come back.
        await self._remove_all(job for job in gone if job.owner.key == owner.key and not self.links.has_link(owner))

    # --- starting ---------------------------------------------------------------------------------

    async def start(
        self,
        job: Job,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | None = None,
        port_expected_count: int = 1,
        forward_stdout: bool = False,
        **options: Any,
    ) -> None:
        """Start the job's process; returns when it is ready.

        ``options``: further ones of ``check_command``. ``port`` is given to the job in ``PORT`` and for ``{port}`` in
        ``args`` and values of ``env``; 'auto' is a free one, ``prefer_port`` where that is free. ``more_ports``:
        further ports by name, in ``PORT_NAME`` and for ``{port:NAME}``. ``ready``: 'report' awaits
        ``port_expected_count`` reports (none: ready at once, with the given ports), 'connect' that ``port`` accepts.
        ``timeout``: seconds until the process is ended.

        Wrong arguments are as of ``check_command``, and do not change the job, nor do a missing ``cwd`` and output
        files that cannot be made. JobInvalidStateError for a second start, otherwise the errors of ``Run.start``.
        """
        await self._starter.take_turn()
        self.admission.require_open()
        await self._starter.start(
            job,
            args,
            env,
            self.properties,
            self.endpoint,
            cwd=cwd,
            port_expected_count=port_expected_count,
            forward_stdout=forward_stdout,
            **options,
        )

    async def join(
        self,
        job: Job,
        user: ExecUser,
        size: TerminalSize | None,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        *,
        split: bool,
        **options: Any,
    ) -> ExecProcess:
        """Start the job's process, joined to ``user``: ``job_run``.

        ``size``: that of its pseudo-terminal, None for pipes. ``options`` and errors: those of :meth:`start`. The job
        is ready when the process runs.
        """
        await self._starter.take_turn()
        self.admission.require_open()
        return await self._starter.join(
            job, user, size, args, env, self.properties, self.endpoint, split=split, **options
        )

    async def execute(
        self,
        job: Job,
        user: ExecUser,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        *,
        tty: bool,
        rows: int,
        cols: int,
        split: bool = False,
    ) -> ExecProcess:
        """Start a second process in the job's sandbox: ``job_exec``.

        TypeError or ValueError for wrong arguments, JobInvalidStateError if the job does not run, OSError if there is
        no such program.
        """
        await self._starter.take_turn()
        self.admission.require_open()
        return await self._starter.execute(job, user, args, env, tty=tty, rows=rows, cols=cols, split=split)

    async def report_port(self, params: Sequence[tuple[str, str]]) -> None:
        """Take the decoded query of a port report. ReportError, with the reason, if it is refused."""
        await take_report(params, self._runs.values(), self.agent_ports)

    async def listening(self, job: Job) -> list[tuple[str, int]]:
        """Return the addresses and TCP ports that processes of the job listen on."""
        return await self._threads.ports.run(self._trees.of(job.uid).listening)

    def _pids(self, uid: str) -> list[int]:
        return [process.pid for process in self._trees.of(uid).look()]

    # --- ending -----------------------------------------------------------------------------------

    async def wait(self, job: Job) -> None:
        """Wait until the job's process has ended; not if none runs."""
        await job.process_ended.wait()

    async def kill(
        self, job: Job, signal: str | int = "TERM", grace: float = limits.TERM_GRACE_S, by: Owner | None = None
    ) -> None:
        """Signal the job, for the peer ``by``.

        TERM, INT, QUIT, ABRT and KILL go to the whole tree, processes left after ``grace`` seconds get KILL, and this
        returns when the tree has ended. Any other goes to the main process and this returns at once.
        ValueError or TypeError for a wrong argument, JobInvalidStateError if no process runs.
        """
        number = signal_number(signal)
        grace_s = seconds("grace", grace, limits.GRACE_MAX_S, zero=True)
        run = self._runs.get(job.uid)
        if run is None or job.process_ended.is_set():
            raise JobInvalidStateError(f"job {job.uid!r} is {job.state.value}: it has no process to signal")
        name = signal_name(number)
        if name not in _ENDING_SIGNALS:
            run.send_main(number)
        else:
            job.killed_by = by
            await run.end(number, 0 if name == "SIGKILL" else grace_s)

    async def remove(self, job: Job, by: Owner | None = None) -> None:
        """End the job's tree (TERM, 5 s, KILL) and delete its sandbox, also if the caller is cancelled.

        ``by``: the peer that removes it. OSError if not all of the sandbox could be deleted; the job is removed all the
        same.
        """
        removal = self._removal(job, by)
        if removal is not None and (error := await asyncio.shield(removal)) is not None:
            raise error

    def begin_removal(self, job: Job, by: Owner | None = None) -> bool:
        """Begin to :meth:`remove` the job. Return whether it is removed already."""
        return self._removal(job, by) is None

    def _removal(self, job: Job, by: Owner | None = None) -> asyncio.Task[OSError | None] | None:
        """Return the task that removes the job, started if need be. None if it has been removed."""
        if job.state is not State.CLOSED:
            note_removal(job, by, agent_is_ending=self.admission.is_ending)
            _log.info("job %s: removed by %s", job.uid, "the agent" if by is None else repr(by.uid))
            job.apply(Input.CLOSE)
            self.registry.remove(job)
            self._lingering.stop(job)
            self._removals.begin(job)
        return self._removals.of(job.uid)

    def _forget(self, uid: str) -> None:
        self._trees.closed(uid)
        self._folder.forget(uid)

    async def _remove_all(self, jobs: Iterable[Job]) -> None:
        """Remove these jobs side by side; errors are logged."""
        removals = []
        for job in jobs:
            await self._rounds.next()
            if (removal := self._removal(job)) is not None:
                removals.append(removal)
        if removals:
            await asyncio.wait(removals)

    async def shutdown(self, *, now: asyncio.Event | None = None) -> None:
        """Refuse new jobs, end all trees (TERM, 5 s, KILL; without the grace once ``now`` is set), delete everything.

        Another call waits for the first.
        """
        if self.admission.is_ending:
            await self._closed.wait()
            return
        self.admission.end()
        self.registry.end()
        if now is not None:
            self._tasks.start(self._force(now), name="waiting for the second signal")
        removals = self._removals.all()
        await self._remove_all(self.jobs())
        if removals:
            await asyncio.wait(removals)
        await self._adopted.end()
        await self._tasks.close()
        self._keeper.close()
        self._clock.close()
        try:
            await self._threads.removals.run(self._folder.remove)
        except OSError as error:
            _log.warning("the folder of the sandboxes cannot be deleted: %s", error)
        for pool in self._threads:
            await pool.close(0)
        self._closed.set()

    async def _force(self, now: asyncio.Event) -> None:
        await now.wait()
        for run in [*self._runs.values()]:
            await self._rounds.next()
            run.force()
