"""The notes of a command's job: the state of a request that must survive the router, and that all routers share.

A note is never changed once its fact is final, so that routers need not agree on the order of their writes. Agents keep
the notes and return them, so the content of each note is checked.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, NamedTuple

from pagent.router_limits import POOL_NOTE_MAX
from pagent.rpc.pool_job import PoolJob
from pagent.wire.values import UNPACK_FAULTS, pack, unpack

#: Labels of a command's job.
POOL_LABEL: Final = "pagent/pool"
RID_LABEL: Final = "pagent/rid"
#: The label of a job that cleans up after a request: its id.
CLEANUP_LABEL: Final = "pagent/cleanup"
#: The request.
REQUEST_NOTE: Final = "pool-request"
#: The job is at its agent.
DELIVERED_NOTE: Final = "pool-delivered"
#: The job was at its agent, and was removed before the end of the agent.
REMOVED_NOTE: Final = "pool-removed"
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
#: Path, content, and whether it is executable.
_FILE_PARTS: Final = 3
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
    """Why a job could not be started, or has ended with its agent; when that was found, in epoch seconds.

    ``exit_code``, ``signal``: how the job had ended before its agent; None if it had not.
    """

    text: str
    time: float
    name: str
    labels: Mapping[str, str]
    exit_code: int | None = None
    signal: str | None = None


def decode_request(note: bytes) -> RequestData:
    """Return the request of a note. ValueError if it is none."""
    try:
        values = _expanded(note)
        data = RequestData(**{**values, "job": _checked_job(values["job"])})
        _check(_is_text_map(data.parameters) and type(data.created_at) is float)
        _check(all(isinstance(text, str) for text in (data.pool, data.rid, data.agent_uid, data.owner)))
    except _FAULTS as error:
        raise ValueError(f"not a request for an agent: {error}") from None
    return data


def encode_job(job: PoolJob) -> bytes:
    """Return the note of a job. ValueError if it is too long for one."""
    return _compressed(job._asdict())


def decode_job(note: bytes) -> PoolJob | None:
    """Return the job of a note of a claim; None if the claim is settled, or has no job yet."""
    if note in (DONE, WITHDRAWN, HELD):
        return None
    try:
        return _checked_job(_expanded(note))
    except _FAULTS as error:
        raise ValueError(f"not a job for an agent: {error}") from None


def encode_failures(failures: Mapping[str, Failure]) -> bytes:
    """Return the note of failures, by the uid of their job."""
    return bytes(pack({uid: [*failure] for uid, failure in failures.items()}))


def decode_failures(note: bytes) -> dict[str, Failure]:
    """Return the failures of a note, by the uid of their job. ValueError if it is none."""
    try:
        failures = {uid: Failure(*values) for uid, values in unpack(note).items()}
        for uid, failure in failures.items():
            _check(all(isinstance(text, str) for text in (uid, failure.text, failure.name)))
            _check(type(failure.time) is float and _is_text_map(failure.labels))
            _check(type(failure.exit_code) in (int, NoneType) and isinstance(failure.signal, str | None))
    except _FAULTS as error:
        raise ValueError(f"not failures of a request: {error}") from None
    return failures


def _checked_job(values: Mapping[str, Any]) -> PoolJob:
    job = PoolJob(**values)
    _check(isinstance(job.uid, str) and isinstance(job.name, str | None) and _is_text_map(job.labels))
    _check(isinstance(job.start, dict | None) and all(len(file) == _FILE_PARTS for file in job.files))
    return job


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _check(is_valid: bool) -> None:
    if not is_valid:
        raise TypeError("a value has another type")


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
