"""The agent's own folder in ``jobs.root``, and what agents that were killed have left there.

Each agent has a folder ``pagent-<random>`` with its sandboxes and a lock file that it holds locked as long as it
lives. In that file stands a line for each process of a job: the job's uid, pid, start time, run of the system.
Whoever can take the lock knows that the agent is dead, and ends what the records and the sandboxes' names lead to.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from pagent import limits
from pagent.jobs.removal import remove_folder
from pagent.jobs.system import Process, System
from pagent.jobs.tree import KILL, NATIVE, STOP
from pagent.unix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW

_log = logging.getLogger(__name__)

_PREFIX: Final = "pagent-"
_LOCK: Final = "lock"
#: Bytes of a record: a uid of 32 digits, two numbers, a UUID. All alike, so that each can be written over.
_RECORD_BYTES: Final = 128


class _Record(NamedTuple):
    """The main process of a job."""

    uid: str
    pid: int
    started: float
    boot: str

    def line(self) -> bytes:
        text = f"{self.uid} {self.pid} {self.started!r} {self.boot}"
        assert len(text) < _RECORD_BYTES, "uid and boot are of known length"
        return text.encode("ascii").ljust(_RECORD_BYTES - 1) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> _Record | None:
        """None for what makes no sense: cut short by a crash, or written by a job, which may be the same user's."""
        try:
            uid, pid, started, *boot = line.decode("ascii").split()
            return cls(uid, int(pid), float(started), "".join(boot))
        except ValueError:
            return None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """OSError if somebody else has it, or if the file system knows no locks."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class AgentFolder:
    """The folder of a living agent."""

    def __init__(self, path: Path, lock: int, system: System = NATIVE) -> None:
        self.path = path
        self._lock = lock
        self._guard = _guard(path)
        self._system = system
        # Places of the records in the lock's file: by uid, and those that nobody has.
        self._places: dict[str, int] = {}
        self._free: list[int] = []

    @classmethod
    def create(cls, root: Path) -> AgentFolder:
        """Make the folder in ``root`` and lock it. Blocking, short. OSError if that cannot be."""
        name = _PREFIX + secrets.token_hex(8)
        # Under a name that no sweep looks at until it is locked.
        making = root / f".{name}"
        making.mkdir(0o700)
        lock = -1
        try:
            lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | O_CLOEXEC, 0o600)
            try:
                _lock(lock)
            except OSError as error:
                _log.warning("%s cannot be locked, so nothing there is cleaned up after a crash: %s", root, error)
            making.rename(root / name)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            remove_folder(making)
            raise
        return cls(root / name, lock)

    def record(self, uid: str, process: Process) -> None:
        """Remember the main process of a job, for an agent that finds us dead. OSError of the disk."""
        line = _Record(uid, process.pid, process.started, self._system.boot_id()).line()
        place = self._free.pop() if self._free else len(self._places)
        self._places[uid] = place
        os.lseek(self._lock, place * _RECORD_BYTES, os.SEEK_SET)
        os.write(self._lock, line)

    def forget(self, uid: str) -> None:
        """The job is gone: its place is another's. Until then the record names a process that there never is again."""
        if (place := self._places.pop(uid, None)) is not None:
            self._free.append(place)

    def there(self) -> Path:
        """Return the path of the folder, which is made anew if it is gone. OSError if that cannot be.

        Cleaners of temporary files delete it, though systemd's leaves alone what is locked (tmpfiles.d(5)). Another
        folder that has the path by now may be anybody's: the new one has a name of its own.
        """
        try:
            if os.path.samestat(os.lstat(self.path), os.fstat(self._guard)):
                return self.path
        except FileNotFoundError:
            pass
        _log.warning("the folder of the sandboxes is gone: %s", self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = AgentFolder.create(self.path.parent)
        os.fchmod(new._guard, stat.S_IMODE(os.fstat(self._guard).st_mode))
        os.pwrite(new._lock, os.pread(self._lock, limits.RECORDS_MAX_BYTES, 0), 0)
        self._close()
        self.path, self._lock, self._guard = new.path, new._lock, new._guard
        return self.path

    def _close(self) -> None:
        for descriptor in (self._lock, self._guard):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._guard = -1

    def remove(self) -> None:
        """Delete the folder with all that is in it. Blocking. OSError if something could not be deleted."""
        try:
            remove_folder(self.path)
        finally:
            self._close()


def _guard(folder: Path) -> int:
    """Return a descriptor of the folder, which is locked as long as that is open. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    with suppress(OSError):  # its file system knows no locks
        _lock(descriptor)
    return descriptor


def sweep(root: Path, system: System = NATIVE) -> int:
    """End the orphans of dead agents in ``root`` and delete their folders; the number of processes ended.

    Blocking, for a thread: up to ``limits.KILL_WAIT_S`` per dead agent. Nothing of a living agent is touched, nor
    what another user has put there. What cannot be cleaned up is logged and left.
    """
    ended = 0
    for path in sorted(root.glob(_PREFIX + "*")):
        try:
            ended += _sweep_one(path, system)
        except OSError as error:
            _log.warning("what a dead agent left in %s cannot be cleaned up: %s", path, error)
    return ended


def _sweep_one(path: Path, system: System) -> int:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
        return 0
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | O_NOFOLLOW | O_CLOEXEC)
    except FileNotFoundError:
        return 0  # no agent's, or one that is just being deleted
    try:
        try:
            _lock(lock)
        except OSError:
            return 0  # its agent lives, or nobody can know
        killed = _end_orphans(path, lock, system)
        remove_folder(path)
        _log.info("cleaned up after a dead agent: %s, processes ended: %d", path.name, killed)
        return killed
    finally:
        os.close(lock)


def _end_orphans(path: Path, lock: int, system: System) -> int:
    """Kill until nothing is left or the time is over."""
    records = _records(lock)
    uids = frozenset({record.uid for record in records}.union(os.listdir(path)) - {_LOCK})
    killed: set[tuple[int, float]] = set()
    give_up = time.monotonic() + limits.KILL_WAIT_S
    looked_in_vain = 0
    while looked_in_vain < 2:  # what executes a program at the first look has no mark then
        orphans = _orphans(records, uids, system)
        fresh = [process for process in orphans if process.key not in killed]
        for process in fresh:
            system.send(process, STOP)
            killed.add(process.key)
        if fresh:
            continue  # stopped first: it may have forked meanwhile
        for process in orphans:
            system.send(process, KILL)
        looked_in_vain = 0 if orphans else looked_in_vain + 1
        if time.monotonic() > give_up:
            _log.error("orphans are left that do not end on SIGKILL: %s", [process.pid for process in orphans])
            break
        time.sleep(limits.EXIT_POLL_S)
    return len(killed)


def _records(lock: int) -> list[_Record]:
    os.lseek(lock, 0, os.SEEK_SET)
    data = os.read(lock, limits.RECORDS_MAX_BYTES)
    found = (_Record.parse(data[at : at + _RECORD_BYTES]) for at in range(0, len(data), _RECORD_BYTES))
    return [record for record in found if record is not None]


def _orphans(records: Iterable[_Record], uids: frozenset[str], system: System) -> list[Process]:
    """Living processes of the dead agent's jobs: recorded, marked, or descendants of such."""
    boot = system.boot_id()
    recorded = {(record.pid, record.started) for record in records if record.boot == boot}
    table = {process.pid: process for process in system.everyone() if process.alive}
    found: dict[int, Process] = {}
    queue = [process for process in table.values() if _is_orphan(process, recorded, uids, system)]
    while queue:
        process = queue.pop()
        if process.pid not in found and process.pid != os.getpid():
            found[process.pid] = process
            queue += [child for child in table.values() if child.parent == process.pid]
    return list(found.values())


def _is_orphan(process: Process, recorded: set[tuple[int, float]], uids: frozenset[str], system: System) -> bool:
    if mark := system.mark(process.pid):
        return not uids.isdisjoint(mark.split(":"))
    # A program that shows a title writes over its environment; then pid, start time and boot say it alone.
    return process.key in recorded
