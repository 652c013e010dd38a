"""Small values that are kept with a job for the routers of its realm: ``job_note`` (docs/contract.rst, "Jobs")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pagent import limits
from pagent.errors import JobInvalidStateError
from pagent.jobs.command import seconds


class NoteBudget:
    """The room for the notes of all jobs of an agent."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0

    def change(self, count: int, size: int) -> None:
        """Take room, or give it back if the numbers are negative. JobInvalidStateError if there is none."""
        no_room = self.size + size > limits.NOTES_BYTES or self.count + count > limits.NOTES_COUNT
        if no_room and (count > 0 or size > 0):
            raise JobInvalidStateError("the agent has no room for more notes")
        self.count += count
        self.size += size


class _Note(NamedTuple):
    value: bytes
    expiry: asyncio.TimerHandle | None


class JobNotes:
    """The notes of one job. ``changed`` is called with the name of each note that is set, or deleted."""

    def __init__(self, budget: NoteBudget, changed: Callable[[str], None]) -> None:
        # For life.
        self._budget = budget
        self._changed = changed
        # While the job exists.
        self._notes: dict[str, _Note] = {}
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return iter([*self._notes])

    def get(self, name: str) -> bytes | None:
        """Return the value of a note, None if there is none."""
        note = self._notes.get(name)
        return None if note is None else note.value

    def set(self, name: object, value: object, ttl: object = None, if_absent: object = False) -> bool:
        """Set a note, or delete it if ``value`` is None: ``job_note``. Return whether that is done.

        False: it exists and ``if_absent`` is set. TypeError or ValueError for a wrong argument or too many notes of
        this job, JobInvalidStateError if the agent has no room.
        """
        checked = _name(name)
        data = None if value is None else _value(value)
        ttl_s = None if ttl is None else seconds("ttl", ttl, limits.RUN_TIMEOUT_MAX_S)
        if type(if_absent) is not bool:
            raise TypeError(f"if_absent must be a bool, not {type(if_absent).__name__}")
        if if_absent and checked in self._notes:
            return False
        if data is None:
            self._delete(checked)
        else:
            self._put(checked, data, ttl_s)
        return True

    def clear(self) -> None:
        """Drop all notes at the end of the job, without a call of ``changed``."""
        for note in self._notes.values():
            _cancel(note)
        self._budget.change(-len(self._notes), -self._size)
        self._notes.clear()
        self._size = 0

    def _put(self, name: str, value: bytes, ttl_s: float | None) -> None:
        old = self._notes.get(name)
        more = len(value) - (0 if old is None else len(old.value))
        if self._size + more > limits.NOTES_BYTES_PER_JOB:
            raise ValueError(f"the notes of a job have at most {limits.NOTES_BYTES_PER_JOB} bytes")
        if old is None and len(self._notes) >= limits.NOTES_PER_JOB:
            raise ValueError(f"a job has at most {limits.NOTES_PER_JOB} notes")
        self._budget.change(int(old is None), more)
        self._size += more
        if old is not None:
            _cancel(old)
        expiry = None if ttl_s is None else asyncio.get_running_loop().call_later(ttl_s, self._delete, name)
        self._notes[name] = _Note(value, expiry)
        self._changed(name)

    def _delete(self, name: str) -> None:
        if (note := self._notes.pop(name, None)) is not None:
            _cancel(note)
            self._budget.change(-1, -len(note.value))
            self._size -= len(note.value)
            self._changed(name)


def _cancel(note: _Note) -> None:
    if note.expiry is not None:
        note.expiry.cancel()


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not 1 <= len(name) <= limits.NOTE_NAME_MAX:
        raise ValueError(f"name must have 1 to {limits.NOTE_NAME_MAX} characters")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError("name is not valid Unicode") from None
    return name


def _value(value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"value must be a bin or nil, not {type(value).__name__}")
    if len(value) > limits.NOTE_VALUE_MAX:
        raise ValueError(f"value must have at most {limits.NOTE_VALUE_MAX} bytes")
    return bytes(value)
