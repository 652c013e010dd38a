"""A job: its states as one table, and its info."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from pagent.errors import JobInvalidStateError
from pagent.jobs.activity import JobActivity
from pagent.jobs.capped import CappedOutput
from pagent.jobs.notes import JobNotes, NoteBudget
from pagent.jobs.output_times import OutputTimes
from pagent.jobs.sandbox import Sandbox
from pagent.jobs.terms import Terms
from pagent.runtime.traffic import Traffic

_log = logging.getLogger(__name__)

UNNAMED: Final = "<unnamed job>"


class State(enum.Enum):
    """States of a job (docs/contract.rst, "Methods"); the values are sent on the wire."""

    NEW = "NEW"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    CLOSED = "CLOSED"


class Input(enum.Enum):
    """Events of a job; the values are for error texts."""

    START = "started"
    READY = "made ready"
    EXIT = "ended"
    FAIL = "failed"
    CLOSE = "removed"


#: FAIL is a process that could not be started. A closed job's process ends after the job.
TRANSITIONS: Final[Mapping[State, Mapping[Input, State]]] = MappingProxyType(
    {
        State.NEW: {Input.START: State.PENDING, Input.CLOSE: State.CLOSED},
        State.PENDING: {
            Input.READY: State.RUNNING,
            Input.EXIT: State.FINISHED,
            Input.FAIL: State.FINISHED,
            Input.CLOSE: State.CLOSED,
        },
        State.RUNNING: {Input.EXIT: State.FINISHED, Input.CLOSE: State.CLOSED},
        State.FINISHED: {Input.CLOSE: State.CLOSED},
        State.CLOSED: {Input.EXIT: State.CLOSED, Input.FAIL: State.CLOSED},
    }
)


class OperatorRealm(enum.Enum):
    """The realm of the operator's link (docs/contract.rst, "Owner"): it sees the jobs of all realms, and owns none."""

    OPERATOR = "operator"


OPERATOR: Final = OperatorRealm.OPERATOR


@dataclass(frozen=True, slots=True)
class Owner:
    """The peer that a job belongs to, as one link of it presents it (docs/contract.rst, "Owner")."""

    #: The id of that link.
    connection: str
    #: The agent's own role on that connection: 'SERVER' or 'CLIENT'.
    direction: str
    uid: str | bytes
    name: str
    #: Only owners of an equal realm see a job, and the operator.
    realm: object
    #: Whether the peer names an instance: then all links of its uid share its jobs.
    by_uid: bool = False

    @property
    def key(self) -> object:
        """Return the key that all links of one owner share: realm and uid; for a peer without an instance its link."""
        return (self.realm, self.uid) if self.by_uid else self.connection

    def require_owner(self) -> None:
        """Raise JobInvalidStateError for the operator, which owns no jobs."""
        if self.realm is OPERATOR:
            raise JobInvalidStateError("the dashboard of an agent owns no jobs, so it creates and adopts none")


def sees(realm: object, owner: object) -> bool:
    """Return whether callers of a realm see the jobs of owners of another one."""
    return realm is OPERATOR or realm == owner


class _OneTimeEvent:
    """An event that happens to a job once, with its callbacks."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._callbacks: dict[Callable[[], None], None] | None = {}  # None once it has happened

    def add(self, callback: Callable[[], None]) -> None:
        if self._callbacks is None:
            callback()
        else:
            self._callbacks[callback] = None

    def discard(self, callback: Callable[[], None]) -> None:
        if self._callbacks is not None:
            self._callbacks.pop(callback, None)

    def happen(self) -> None:
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:  # noqa: BLE001 - the other callbacks must be called as well
                _log.exception("job %s: a callback at its end failed", self._uid)


class JobWatchers(Protocol):
    """The watchers of jobs."""

    def changed(self, job: Job) -> None:
        """Note that the info of a job has changed."""

    def note_changed(self, job: Job, name: str) -> None:
        """Note that a note of a job was set or deleted."""


class Job:
    """One job. Only ``jobs/`` changes it; other packages read it, and register callbacks.

    ``watchers`` are notified of each change of its state, process, ports, owner or notes.
    """

    def __init__(
        self,
        uid: str,
        terms: Terms,
        owner: Owner,
        sandbox: Sandbox,
        usage: Callable[[], tuple[float, int]],
        note_budget: NoteBudget,
        watchers: JobWatchers,
    ) -> None:
        # For life.
        self.uid: Final = uid
        self.terms: Final = terms
        self.name: Final = terms.name or UNNAMED
        self.sandbox: Final = sandbox
        self.created_at: Final = time.time()
        self._usage = usage
        self._watchers = watchers
        #: The clocks of its traffic.
        self.activity: Final = JobActivity()
        #: The bytes that its clients have sent to it and that it has sent to them (docs/contract.rst, "Host").
        self.traffic: Final = Traffic()
        #: Values that routers keep with the job.
        self.notes: Final = JobNotes(note_budget, lambda name: watchers.note_changed(self, name))

        # The owner, which may change.
        self._owner = owner

        #: The peer that removed it; None if the agent did.
        self.removed_by: Owner | None = None
        #: The peer that ended its process, by ``job_kill`` or by its removal; None if no peer did.
        self.killed_by: Owner | None = None

        # The process.
        #: The port that the agent gave to it; one of ``ports`` once the job is ready.
        self.port: int | None = None
        self.ports: tuple[int, ...] = ()
        self.pid: int | None = None
        self.exit_code: int | None = None
        #: Name of the signal that ended the process, such as 'SIGKILL' or 'SIGRTMIN+1'.
        self.signal: str | None = None
        #: Why the job failed, unless its process exited by itself.
        self.error: str | None = None
        self.started_at: float | None = None
        self.finished_at: float | None = None
        #: The output files by name, if they are capped.
        self.outputs: dict[str, CappedOutput] = {}
        #: When its output was written, by the name of the output file.
        self.output_times: dict[str, OutputTimes] = {}
        #: Whether the agent has begun to end its processes.
        self.is_ending = False
        #: Set while no process runs.
        self.process_ended: Final = asyncio.Event()
        self.process_ended.set()

        # The state.
        self._state = State.NEW
        self._start = _OneTimeEvent(uid)
        self._end = _OneTimeEvent(uid)
        self._removal = _OneTimeEvent(uid)
        self._output_end = _OneTimeEvent(uid)
        #: No process of the job writes any more, as far as the agent knows.
        self.output_ended = False

    def __repr__(self) -> str:
        return f"<Job {self.uid} {self._state.value}>"

    @property
    def state(self) -> State:
        """Return the state."""
        return self._state

    @property
    def owner(self) -> Owner:
        """Return the owner."""
        return self._owner

    @owner.setter
    def owner(self, owner: Owner) -> None:
        self._owner = owner
        self._watchers.changed(self)

    def runs_as(self, pid: int) -> None:
        """Note that its process executes the program."""
        self.pid = pid
        self.started_at = time.time()
        self._watchers.changed(self)

    def add_ports(self, *ports: int) -> None:
        """Note ports that the job listens on."""
        self.ports += ports
        self._watchers.changed(self)

    def require(self, happening: Input) -> State:
        """Return the state that follows. JobInvalidStateError if TRANSITIONS has no such input for the present one."""
        following = TRANSITIONS[self._state].get(happening)
        if following is None:
            raise JobInvalidStateError(f"job {self.uid!r} is {self._state.value} and cannot be {happening.value}")
        return following

    def apply(self, happening: Input) -> None:
        """Set the state, as TRANSITIONS says. JobInvalidStateError, and no change, if the table lacks the input."""
        self._state = self.require(happening)
        if happening is Input.START:
            self.process_ended.clear()
            self._start.happen()
        elif happening in (Input.EXIT, Input.FAIL):
            self.finished_at = time.time()
            self.process_ended.set()
        if self._state in (State.FINISHED, State.CLOSED):
            self._end.happen()
        if self._state is State.CLOSED:
            self.notes.clear()
            self._removal.happen()
        self._watchers.changed(self)

    def end_output(self) -> None:
        """Note that the whole tree has ended, or is given up."""
        self.output_ended = True
        self._output_end.happen()

    # --- start and end ----------------------------------------------------------------------------

    @contextmanager
    def watching(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, within the block, when the job is started and when it has ended; at once for a past event."""
        self._start.add(callback)
        self._end.add(callback)
        try:
            yield
        finally:
            self._start.discard(callback)
            self._end.discard(callback)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back once when the process has ended or the job is removed, whichever is first; at once if it was."""
        self._end.add(callback)

    @contextmanager
    def until_output_ends(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, within the block, when no process of the job writes any more; at once if none does."""
        self._output_end.add(callback)
        try:
            yield
        finally:
            self._output_end.discard(callback)

    @contextmanager
    def until_removed(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, within the block, when the job is removed; at once if it was."""
        self._removal.add(callback)
        try:
            yield
        finally:
            self._removal.discard(callback)

    # --- info -------------------------------------------------------------------------------------

    def single_port(self, port: int | None = None) -> int:
        """Return the port to connect to: the only one, or ``port`` if it is the job's. ValueError if there is none."""
        if port is not None and type(port) is not int:
            raise TypeError(f"port must be an int, not {type(port).__name__}")
        if self._state is not State.RUNNING or not self.ports or (port is None and len(self.ports) != 1):
            raise ValueError("job does not contain a running server")
        if port is None:
            return self.ports[0]
        if port not in self.ports:
            raise ValueError(f"port {port} is not one of the job's")
        return port

    @property
    def age(self) -> tuple[float, str]:
        """Return the key that orders jobs: the time of creation, and the uid."""
        return self.created_at, self.uid

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds and resident bytes of the tree of its process. OSError."""
        return self._usage()

    def info(self) -> dict[str, Any]:
        """Return the map that job methods answer with (docs/contract.rst, "Methods"). Epoch seconds, bytes.

        ``cpu_seconds`` and ``rss_bytes`` are of the whole tree, None unless the process runs and can be read.
        """
        cpu_seconds: float | None = None
        rss_bytes: int | None = None
        if self.pid is not None and self._state in (State.PENDING, State.RUNNING):
            with suppress(OSError):  # no descriptor is left to read them
                cpu_seconds, rss_bytes = self._usage()
        return {
            "uid": self.uid,
            "name": self.name,
            "state": self._state.value,
            "sender": {"direction": self._owner.direction, "uid": self._owner.uid, "name": self._owner.name},
            "pid": self.pid,
            "port": self.port,
            "ports": list(self.ports),
            "exit_code": self.exit_code,
            "signal": self.signal,
            "error": self.error,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "cpu_seconds": cpu_seconds,
            "rss_bytes": rss_bytes,
            "labels": dict(self.terms.labels),
            "open_streams": self.activity.open_streams,
            "last_request_at": self.activity.last_request_at,
            "last_input_at": self.activity.last_input_at,
            "linger": self.terms.linger_s,
        }
