"""A request for an agent: the job that its caller wants, and the state of the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pagent.names import AGENT_ENDED
from pagent.relay.pools.notes import (
    CANCELLED_NOTE,
    CLAIM_NOTE,
    DONE,
    HELD,
    WITHDRAWN,
    Failure,
    RequestData,
    decode_failures,
    decode_job,
    encode_failures,
)
from pagent.relay.pools.output import OutputTail
from pagent.relay.pools.states import (
    RequestedJobInput,
    RequestedJobState,
    RequestInput,
    RequestState,
    next_job_state,
    next_state,
)
from pagent.rpc.pool_job import PoolJob, PoolRequestView


class PoolRequest:
    """A request that this router knows.

    :param command: the uid of the command's job.
    :param place: its place in the queue: when the agent of the commands has created that job, and its uid.
    :param since: when it got its state, in epoch seconds.
    :param changed: called after each change that callers see: with True if the state is another.
    """

    def __init__(
        self,
        data: RequestData,
        command: str,
        place: tuple[float, str],
        state: RequestState,
        since: float,
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
        self.state_changed_at = since
        self._job_state = RequestedJobState.WAITING
        self.has_left = False  # the agent has said that it ends
        self.instance: str | None = None  # of the agent that has come first
        self.claims: Final[dict[int, PoolJob | None]] = {}  # jobs for the idle agent; None for one that is settled
        self.lost: Final[dict[str, PoolJob]] = {}  # jobs that have ended with the agent
        #: Exit codes and signals of the jobs of `lost` that had ended before the agent.
        self._ends: dict[str, tuple[int | None, str | None]] = {}
        self.held: Final[set[int]] = set()  # claims that have no job yet
        #: Notes of cancellations that the agent of the command does not keep yet, by the job: name and value.
        self.unkept: Final[dict[str, tuple[str, bytes]]] = {}
        self.withdrawn: Final[dict[int, str]] = {}  # jobs of claims that were cancelled
        self.unwanted: Final[set[str]] = set()  # jobs that the agent has got although they were cancelled
        self.ending: Final = asyncio.Event()  # it gives no jobs to its agent any more, and its failures are final
        #: Set at each change of an agent or a job that the request depends on.
        self.changed: Final = asyncio.Event()
        # The end.
        self.error: str | None = None
        self.failures: Final[dict[str, Failure]] = {}
        self._noted_failures: set[str] = set()

    @property
    def state(self) -> RequestState:
        return self._state

    def apply(self, event: RequestInput) -> None:
        """Change the state. This is the only setter."""
        before, self._state = self._state, next_state(self._state, event)
        self.changed.set()
        if self._state is not before:
            self.state_changed_at = time.time()
            self._report(self, True)

    @property
    def job_state(self) -> RequestedJobState:
        """The state of the job that it was made for."""
        return self._job_state

    @property
    def is_delivered(self) -> bool:
        """Whether its agent has got the job that it was made for."""
        return self._job_state in (RequestedJobState.DELIVERED, RequestedJobState.REMOVED)

    @property
    def is_kept(self) -> bool:
        """Whether its agent has the job that it was made for, or had it at its end."""
        return self._job_state is RequestedJobState.DELIVERED and self.data.job.uid not in self.failures

    @property
    def is_cancelled(self) -> bool:
        return self._job_state is RequestedJobState.CANCELLED

    def apply_to_job(self, event: RequestedJobInput) -> None:
        """Change the state of the job that the request was made for. This is the only setter."""
        self._job_state = next_job_state(self._job_state, event)
        self.changed.set()

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
            ended = self._ends.get(job.uid, (None, None))
            self.failures[job.uid] = Failure(text, time.time(), job.name or "", dict(job.labels), *ended)

    def add_lost(self, *jobs: PoolJob) -> None:
        """Note that jobs have ended with the agent; the output of the command may say why."""
        self.lost.update({job.uid: job for job in jobs})
        self.fail(f"{AGENT_ENDED}{self.output.text}", *jobs)

    def add_ended(self, job_uid: str, exit_code: Any, signal: Any) -> None:
        """Note how a job had ended before its agent, as the agent has said."""
        if type(exit_code) is int or isinstance(signal, str):
            code = exit_code if type(exit_code) is int else None
            self._ends[job_uid] = code, signal if isinstance(signal, str) else None

    def encoded_failures(self) -> bytes:
        """Return the note of the failures."""
        return encode_failures(self.failures)

    def take_failures(self, note: bytes | None) -> None:
        """Take over the failures of a note; those that an earlier one had were forgotten by another router."""
        with suppress(ValueError):
            found = decode_failures(note or b"")
            for uid in self._noted_failures - found.keys():
                self.failures.pop(uid, None)
            self._noted_failures = set(found)
            self.failures.update(found)

    def take_claim(self, number: int, note: bytes | None) -> None:
        """Take over a note of a claim; None is one that was held, and is not any more."""
        self.held.discard(number)
        if note is None:
            self.claims.pop(number, None)
            return
        if note == HELD:
            self.held.add(number)
        if note == WITHDRAWN and (job := self.claims.get(number)) is not None:
            self.withdrawn[number] = job.uid
        elif note == DONE and number in self.withdrawn:
            self.unwanted.add(self.withdrawn[number])  # a router did not know yet that it is withdrawn
        try:
            self.claims[number] = decode_job(note)
        except ValueError:
            self.claims[number] = None

    def cancel(self, job_uid: str) -> None:
        """Cancel a job that waits for the agent. The note in ``unkept`` makes it last."""
        number = next((each for each, job in self.pending.items() if job.uid == job_uid), None)
        if number is not None:
            self.claims[number] = None
            self.withdrawn[number] = job_uid
            self.unkept[job_uid] = f"{CLAIM_NOTE}{number}", WITHDRAWN
        elif job_uid not in self.unkept:
            self.apply_to_job(RequestedJobInput.CANCEL)
            self.unkept[job_uid] = CANCELLED_NOTE, DONE
        self.changed.set()

    @property
    def pending(self) -> dict[int | None, PoolJob]:
        """The jobs that wait for its agent, by the number of their claim; None for the one that it was made for."""
        found: dict[int | None, PoolJob] = {}
        if self._job_state is RequestedJobState.WAITING and self.data.job.uid not in self.failures:
            found[None] = self.data.job
        found.update({number: job for number, job in self.claims.items() if job is not None})
        return found

    @property
    def is_ending(self) -> bool:
        return self.ending.is_set()

    @property
    def has_ended(self) -> bool:
        return self._state is RequestState.ENDED

    def view(self) -> PoolRequestView:
        """Return the request as callers see it, with the job that its agent received last."""
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
            self.state_changed_at,
            self.command,
            self.output.last_lines,
        )
