"""A request for an agent: what its caller wants, and what has become of it.

What a caller wants is a note of the command's job, so that each router, also after a restart, goes on with the request.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pagent.relay.pools.output import OutputTail
from pagent.relay.pools.states import RequestInput, RequestState, next_state
from pagent.router_limits import POOL_NOTE_MAX
from pagent.rpc.pool_job import PoolJob, PoolRequestView
from pagent.wire.values import pack, unpack

#: Labels of a command's job.
POOL_LABEL: Final = "pagent/pool"
RID_LABEL: Final = "pagent/rid"
#: Notes of a command's job: the request, and how far it has come if that does not show otherwise.
REQUEST_NOTE: Final = "pool-request"
STATE_NOTE: Final = "pool-state"
DELIVERED: Final = b"delivered"
CANCELLED: Final = b"cancelled"

_COMPRESSED_MAX: Final = 1 << 24


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
        values = self._asdict()
        note = zlib.compress(bytes(pack({**values, "job": self.job._asdict()})))
        if len(note) > POOL_NOTE_MAX:
            raise ValueError(f"a request for an agent of a pool may have {POOL_NOTE_MAX} bytes, compressed")
        return note


def decode_request(note: bytes) -> RequestData:
    """Return the request of a note. ValueError if it is none."""
    try:
        inflater = zlib.decompressobj()
        values: dict[str, Any] = unpack(inflater.decompress(note, _COMPRESSED_MAX))
        job = PoolJob(**values.pop("job"))
        return RequestData(**values, job=job)
    except (zlib.error, TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"not a request for an agent: {error}") from None


class PoolRequest:
    """A request that this router knows. ``command``: the uid of the command's job."""

    def __init__(self, data: RequestData, command: str, state: RequestState) -> None:
        # For life.
        self.data: Final = data
        self.command: Final = command
        self.output: Final = OutputTail()
        # Until it has ended.
        self._state = state
        self.is_cancelled = False
        self.is_unwanted = False  # it was cancelled, and ends
        self.is_delivered = False
        self.has_left = False  # the agent has said that it ends
        self.instance: str | None = None  # of the agent that has come first
        self.further: Final[list[PoolJob]] = []  # jobs that the agent gets when it has become idle
        self.failures: Final[dict[str, str]] = {}  # jobs that could not be started, and why
        self.lost: Final[dict[str, PoolJob]] = {}  # jobs that have ended with the agent
        #: Set at each change of what the request depends on.
        self.changed: Final = asyncio.Event()
        # The end.
        self.error: str | None = None

    @property
    def state(self) -> RequestState:
        return self._state

    def apply(self, happening: RequestInput) -> None:
        """Change the state; nothing else does."""
        self._state = next_state(self._state, happening)
        self.changed.set()

    @property
    def age(self) -> tuple[float, str]:
        """The key that orders requests: all routers have the same order."""
        return self.data.created_at, self.data.rid

    @property
    def jobs(self) -> list[PoolJob]:
        """The jobs that it was made for, is to get, and has lost with its agent."""
        lost = (job for uid, job in self.lost.items() if uid != self.data.job.uid)
        return [self.data.job, *lost, *self.further]

    def view(self, job: PoolJob | None = None) -> PoolRequestView:
        """Return what callers see of it, for one of its jobs."""
        data, job = self.data, job or self.data.job
        error = f"its agent has ended: {self.output.text}" if job.uid in self.lost else None
        error = error or self.failures.get(job.uid, self.error)
        message = self.output.last_line if error is None else error
        return PoolRequestView(
            data.rid,
            data.pool,
            self._state.value,
            data.agent_uid,
            data.parameters,
            data.created_at,
            job,
            message,
            has_failed=error is not None,
        )
