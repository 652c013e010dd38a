"""A request for an agent: what its caller wants, and what has become of it.

What must survive the router are notes of the command's job, so that each router, also after a restart, goes on with the
request. A note is never changed once its fact is final, so that routers need not agree on the order of their writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pagent.relay.pools.output import OutputTail
from pagent.relay.pools.states import RequestInput, RequestState, next_state
from pagent.router_limits import POOL_NOTE_MAX
from pagent.rpc.pool_job import PoolJob, PoolRequestView
from pagent.wire.values import UNPACK_FAULTS, pack, unpack

#: Labels of a command's job.
POOL_LABEL: Final = "pagent/pool"
RID_LABEL: Final = "pagent/rid"
#: The request.
REQUEST_NOTE: Final = "pool-request"
#: The job is at its agent.
DELIVERED_NOTE: Final = "pool-delivered"
#: Its client does not want the job any more.
CANCELLED_NOTE: Final = "pool-cancelled"
#: Why jobs could not be started.
FAILURES_NOTE: Final = "pool-failures"
#: The request ends, or has ended and keeps its failures.
END_NOTE: Final = "pool-end"
BEGUN: Final = b"begun"
DONE: Final = b"done"
#: A job for the agent when it is idle; the number of the claim follows.
CLAIM_NOTE: Final = "pool-claim-"
WITHDRAWN: Final = b"withdrawn"
#: Instead of the job, while a router sees whether the agent is idle.
HELD: Final = b"held"

_COMPRESSED_MAX: Final = 1 << 24
_FAULTS: Final = (zlib.error, KeyError, AttributeError, *UNPACK_FAULTS)
_RID_DIGITS: Final = 16
_UID_DIGITS: Final = 32


class RequestData(NamedTuple):
    """``agent_uid``: of the agent that is started. ``owner``: the subject; empty in an open router."""

    pool: str
    rid: str
    agent_uid: str
    parameters: Mapping[str, str]
    owner: str
    created_at: float
    job: PoolJob

    def encode(self) -> bytes:
        """Return the note. ValueError if it is too long for one."""
        return _compressed({**self._asdict(), "job": self.job._asdict()})


class Failure(NamedTuple):
    """Why a job could not be started, and when that was found, in epoch seconds; the job's name and labels."""

    text: str
    time: float
    name: str
    labels: Mapping[str, str]


def decode_request(note: bytes) -> RequestData:
    """Return the request of a note. ValueError if it is none."""
    try:
        values = _expanded(note)
        job = PoolJob(**values.pop("job"))
        return RequestData(**values, job=job)
    except _FAULTS as error:
        raise ValueError(f"not a request for an agent: {error}") from None


def encode_job(job: PoolJob) -> bytes:
    """Return the note of a job. ValueError if it is too long for one."""
    return _compressed(job._asdict())


def decode_job(note: bytes) -> PoolJob | None:
    """Return the job of a note of a claim; None if the claim is settled, or has no job yet."""
    if note in (DONE, WITHDRAWN, HELD):
        return None
    try:
        return PoolJob(**_expanded(note))
    except _FAULTS as error:
        raise ValueError(f"not a job for an agent: {error}") from None


def _compressed(values: Mapping[str, Any]) -> bytes:
    note = zlib.compress(bytes(pack(values)))
    if len(note) > POOL_NOTE_MAX:
        raise ValueError(f"a request for an agent of a pool may have {POOL_NOTE_MAX} bytes, compressed")
    return note


def _expanded(note: bytes) -> dict[str, Any]:
    values: dict[str, Any] = unpack(zlib.decompressobj().decompress(note, _COMPRESSED_MAX))
    return values


def rid_after(*parts: str) -> str:
    """Return the id of a request that follows from others or from a key: all routers make the same."""
    return _digest("request", *parts)[:_RID_DIGITS]


def agent_uid_of(rid: str) -> str:
    """Return the uid of the agent that a request starts."""
    return _digest("agent", rid)[:_UID_DIGITS]


def command_uid_of(rid: str) -> str:
    """Return the uid of the job of a request's command."""
    return _digest("command", rid)[:_UID_DIGITS]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(("pagent pool", *parts)).encode()).hexdigest()


class PoolRequest:
    """A request that this router knows.

    :param command: the uid of the command's job.
    :param place: its place in the queue: when the agent of the commands has created that job, and its uid.
    :param changed: called after each change that callers see: with True if the state is another.
    """

    def __init__(
        self,
        data: RequestData,
        command: str,
        place: tuple[float, str],
        state: RequestState,
        changed: Callable[[PoolRequest, bool], None],
    ) -> None:
        # For life.
        self.data: Final = data
        self.command: Final = command
        self.place: Final = place
        self.output: Final = OutputTail()
        self._report: Final = changed
        # Until it has ended.
        self._state = state
        self.is_cancelled = False
        self.is_ending = False
        self.is_delivered = False
        self.is_handed_over = False  # an idle agent has taken the job
        self.has_left = False  # the agent has said that it ends
        self.instance: str | None = None  # of the agent that has come first
        self.claims: Final[dict[int, PoolJob | None]] = {}  # jobs for the idle agent; None for one that is settled
        self.lost: Final[dict[str, PoolJob]] = {}  # jobs that have ended with the agent
        self.held: Final[set[int]] = set()  # claims that have no job yet
        #: Set at each change of what the request depends on.
        self.changed: Final = asyncio.Event()
        # The end.
        self.error: str | None = None
        self.failures: Final[dict[str, Failure]] = {}

    @property
    def state(self) -> RequestState:
        return self._state

    def apply(self, event: RequestInput) -> None:
        """Change the state; nothing else does."""
        before, self._state = self._state, next_state(self._state, event)
        self.changed.set()
        if self._state is not before:
            self._report(self, True)

    def add_output(self, stream: str, data: bytes) -> None:
        """Take output of the command."""
        before = self.output.last_line
        self.output.add(stream, data)
        self.changed.set()
        if self.output.last_line != before:
            self._report(self, False)

    def fail(self, text: str, *jobs: PoolJob) -> None:
        """Note why jobs could not be started."""
        for job in jobs:
            self.failures[job.uid] = Failure(text, time.time(), job.name or "", dict(job.labels))

    def add_lost(self, *jobs: PoolJob) -> None:
        """Note that jobs have ended with the agent; the output of the command may say why."""
        self.lost.update({job.uid: job for job in jobs})
        self.fail(f"its agent has ended: {self.output.text}", *jobs)

    def encoded_failures(self) -> bytes:
        """Return the note of the failures."""
        return bytes(pack({uid: [*failure] for uid, failure in self.failures.items()}))

    def take_failures(self, note: bytes | None) -> None:
        """Take over the failures of a note."""
        try:
            self.failures.update({uid: Failure(*values) for uid, values in unpack(note or b"\x80").items()})
        except _FAULTS:
            self.failures.clear()

    def take_claim(self, number: int, note: bytes | None) -> None:
        """Take over a note of a claim; None is one that was held, and is not any more."""
        self.held.discard(number)
        if note is None:
            self.claims.pop(number, None)
            return
        if note == HELD:
            self.held.add(number)
        try:
            self.claims[number] = decode_job(note)
        except ValueError:
            self.claims[number] = None

    @property
    def pending(self) -> dict[int | None, PoolJob]:
        """The jobs that wait for its agent, by the number of their claim; None for the one that it was made for."""
        found: dict[int | None, PoolJob] = {}
        has_it = self.is_delivered or self.is_handed_over or self.data.job.uid in self.failures
        if not has_it and not self.is_cancelled:
            found[None] = self.data.job
        found.update({number: job for number, job in self.claims.items() if job is not None})
        return found

    @property
    def has_ended(self) -> bool:
        return self._state is RequestState.ENDED

    def view(self) -> PoolRequestView:
        """Return what callers see of it, for the job that it has got last."""
        data = self.data
        latest = next((job for job in reversed(self.claims.values()) if job is not None), data.job)
        error = failure.text if (failure := self.failures.get(latest.uid)) is not None else self.error
        return PoolRequestView(
            data.rid,
            data.pool,
            self._state.value,
            data.agent_uid,
            data.parameters,
            data.created_at,
            latest,
            self.output.last_line if error is None else error,
            error,
        )
