"""Creations with a key (docs/api.rst, "Creation with a key"): the uid of the job, and the choice of its agent.

The router stores no keys: the uid follows from the key, and a digest of the request is a label of the job.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final
from weakref import WeakValueDictionary

from pagent.errors import RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.record import JobRecord
from pagent.rpc.directory import Subject

#: The label with the digest of the request that has created a job with a key.
REQUEST: Final = "pagent/request"

_UID_DIGITS: Final = 32


def keyed_uid(router_uid: str, subject: Subject, key: str) -> str:
    """Return the uid of the job that a subject creates with a key: the first 128 bits of a SHA-256."""
    parts = (router_uid, subject.name or "", key)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_UID_DIGITS]


def by_rank(uid: str, agents: Iterable[ConnectedAgent]) -> list[ConnectedAgent]:
    """Return agents in the order in which a job with a key is created there: all routers have the same."""
    return sorted(agents, key=lambda agent: hashlib.sha256((uid + agent.uid).encode()).digest(), reverse=True)


def check_same(job: JobRecord, digest: str) -> None:
    """RequestRefusedError 409 if a job was created by another request than the one with this digest."""
    if job.labels.get(REQUEST) != digest:
        raise RequestRefusedError(409, f"job {job.uid} was created with this key by another request")


class KeyLocks:
    """Lets one request at a time create the job with a uid."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, uid: str) -> AbstractAsyncContextManager[None]:
        """Return a block that waits until no other one for this uid runs."""
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        return lock
