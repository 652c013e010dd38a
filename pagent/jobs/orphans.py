"""The agent's own folder in ``jobs.root``, and the folders of agents that were killed.

Each agent has a folder ``pagent-<random>`` with its sandboxes and a lock file that it holds locked as long as it
lives. The first line of that file names the machine and the run of the system. Then comes a line for the keeper, and
one for each job: its uid, the pid and start time of its supervisor and of its main process, which leads a session, and
where these numbers are valid. An agent that can take the lock knows that the other is dead, and ends the processes that
the records lead to. A lock proves nothing about an agent on another machine, since some file systems keep locks for
themselves: such folders stay.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from pagent import limits
from pagent.jobs.removal import remove_folder
from pagent.jobs.system import EXIT_POLL_S, Process, System
from pagent.jobs.tree import KILL, NATIVE, STOP, Key, is_of_session
from pagent.unix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW

_log = logging.getLogger(__name__)

_PREFIX: Final = "pagent-"
_LOCK: Final = "lock"
#: Bytes of a record: a uid of 32 digits, four numbers, a boot id. All alike, so that each can be written over.
_RECORD_BYTES: Final = 192
_HOST: Final = "host"


class _Record(NamedTuple):
    """The processes of a job."""

    uid: str
    supervisor: Key
    main: Key
    boot: str

    def line(self) -> bytes:
        (pid, started), (main, main_started) = self.supervisor, self.main
        return _padded(f"{self.uid} {pid} {started!r} {main} {main_started!r} {self.boot}")

    @classmethod
    def parse(cls, line: bytes) -> _Record | None:
        """Return None for a line that is no record: truncated by a crash, or written by a job of the same user."""
        try:
            uid, pid, started, main, main_started, *boot = line.decode("ascii").split()
            return cls(uid, (int(pid), float(started)), (int(main), float(main_started)), "".join(boot))
        except ValueError:
            return None


def _padded(text: str) -> bytes:
    assert len(text) < _RECORD_BYTES, "its parts are of known length"
    return text.encode("ascii", "replace").ljust(_RECORD_BYTES - 1) + b"\n"


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Take the lock. OSError if another process has it, or if the file system has no locks."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class AgentFolder:
    """The folder of a living agent."""

    def __init__(self, path: Path, lock: int, system: System = NATIVE) -> None:
        self.path = path
        self._lock = lock
        self._guard = _guard(path)
        self._system = system
        # Places of the records in the lock's file, from 1: by uid, and the free ones.
        self._places: dict[str, int] = {}
        self._free: list[int] = []

    @classmethod
    def create(cls, root: Path, system: System = NATIVE) -> AgentFolder:
        """Make the folder in ``root`` and lock it. Blocking, short. OSError if either fails."""
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
            os.write(lock, _padded(f"{_HOST} {system.machine_id():.64} {system.boot_id()}"))
            os.fsync(lock)  # a folder without this line is never cleaned up
            making.rename(root / name)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            remove_folder(making)
            raise
        return cls(root / name, lock, system)

    def record_keeper(self, keeper: Key) -> None:
        """Record a keeper, whose descendants all belong to jobs. An error is logged."""
        try:
            self.record(f"keeper-{keeper[0]}", keeper)
        except OSError as error:
            _log.warning("the keeper cannot be recorded for the next agent: %s", error)

    def record(self, uid: str, supervisor: Key, main: Key | None = None) -> None:
        """Record the processes of a job, for the next agent if this one is killed. OSError of the disk."""
        line = _Record(uid, supervisor, main or (0, 0), self._system.boot_id()).line()
        if uid not in self._places:
            self._places[uid] = self._free.pop() if self._free else len(self._places) + 1
        place = self._places[uid]
        os.pwrite(self._lock, line, place * _RECORD_BYTES)

    def forget(self, uid: str) -> None:
        """Free the place of a removed job. Until it is used again the record names a process that no longer exists."""
        if (place := self._places.pop(uid, None)) is not None:
            self._free.append(place)

    def there(self) -> Path:
        """Return the path of the folder, which is made anew if it is gone. OSError if that cannot be.

        Cleaners of temporary files delete it, though systemd's spares locked folders (tmpfiles.d(5)). Another
        folder that has the path by now may belong to any user: the new one has a new name.
        """
        try:
            if os.path.samestat(os.lstat(self.path), os.fstat(self._guard)):
                return self.path
        except FileNotFoundError:
            pass
        _log.warning("the folder of the sandboxes is gone: %s", self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = AgentFolder.create(self.path.parent, self._system)
        os.fchmod(new._guard, stat.S_IMODE(os.fstat(self._guard).st_mode))
        os.pwrite(new._lock, os.pread(self._lock, limits.RECORDS_MAX_BYTES, 0), 0)
        self.release()
        self.path, self._lock, self._guard = new.path, new._lock, new._guard
        return self.path

    def release(self) -> None:
        """Close the descriptors, which unlocks the folder, as the end of the process does."""
        for descriptor in (self._lock, self._guard):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._guard = -1

    def remove(self) -> None:
        """Delete the folder with all that is in it. Blocking. OSError if something could not be deleted."""
        try:
            remove_folder(self.path)
        finally:
            self.release()


def _guard(folder: Path) -> int:
    """Return a descriptor of the folder, which is locked as long as that is open. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    with suppress(OSError):  # its file system knows no locks
        _lock(descriptor)
    return descriptor


def sweep(root: Path, system: System = NATIVE) -> int:
    """End the orphans of dead agents in ``root`` and delete their folders. Return the number of processes ended.

    Blocking, for a thread: up to ``limits.KILL_WAIT_S`` per dead agent. Nothing of a living agent is touched, nor
    files that another user has put there. Files that cannot be deleted are logged and left.
    """
    ended = 0
    for path in sorted(root.glob(_PREFIX + "*")):
        try:
            ended += _sweep_one(path, system)
        except OSError as error:
            _log.warning("what a dead agent left in %s cannot be cleaned up: %s", path, error)
    return ended


def _sweep_one(path: Path, system: System) -> int:
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
            return 0
        lock = os.open(path / _LOCK, os.O_RDWR | O_NOFOLLOW | O_CLOEXEC)
    except FileNotFoundError:
        return 0  # of no agent, or of one that is being deleted
    try:
        try:
            _lock(lock)
        except OSError:
            return 0  # its agent lives, or that cannot be known
        if not _is_of_this_machine(lock, system):
            _log.info("left alone, as it is of an agent on another machine: %s", path.name)
            return 0
        killed = _end_orphans(path, lock, system)
        remove_folder(path)
        _log.info("cleaned up after a dead agent: %s, processes ended: %d", path.name, killed)
        return killed
    finally:
        os.close(lock)


def _is_of_this_machine(lock: int, system: System) -> bool:
    """Return whether a lock that can be taken proves that the agent is dead: it does on the same system."""
    parts = os.pread(lock, _RECORD_BYTES, 0).decode("ascii", "replace").split()
    if len(parts) < 2 or parts[0] != _HOST:
        return False
    boot = parts[2].partition("/")[0] if len(parts) > 2 else ""
    return parts[1] == system.machine_id()[:64] or boot == system.boot_id().partition("/")[0] != ""


def _end_orphans(path: Path, lock: int, system: System) -> int:
    """Kill until no process is left or the time is over. Return the number of processes of jobs that were found."""
    records = read_records(lock)
    folder = os.path.realpath(path)
    killed: set[Key] = set()
    give_up = time.monotonic() + limits.KILL_WAIT_S
    while orphans := find_orphans(records, folder, system):
        fresh = {process.key for process in orphans} - killed
        for key in fresh:
            system.send(key, STOP)
        killed |= fresh
        if fresh:
            continue  # stopped first: it may have forked meanwhile
        for process in orphans:
            system.send(process.key, KILL)
        if time.monotonic() > give_up:
            _log.error("orphans are left that do not end on SIGKILL: %s", [process.pid for process in orphans])
            break
        time.sleep(EXIT_POLL_S)
    return len(killed - {record.supervisor for record in records})


def read_records(lock: int) -> list[_Record]:
    """Return the records in a lock file."""
    data = os.pread(lock, limits.RECORDS_MAX_BYTES, _RECORD_BYTES)
    found = (_Record.parse(data[at : at + _RECORD_BYTES]) for at in range(0, len(data), _RECORD_BYTES))
    return [record for record in found if record is not None]


def find_orphans(records: Iterable[_Record], folder: str, system: System) -> list[Process]:
    """Return the living processes of the dead agent's jobs.

    These descend from a recorded process, are in its session, or work in one of the sandboxes; and their descendants.
    """
    here = [record for record in records if record.boot == system.boot_id()]
    recorded = {key for record in here for key in (record.supervisor, record.main)}
    # Without session 0: a record has it while the main process is not known, and processes of the kernel are in it.
    sessions = {record.main[0]: record.main[1] for record in here if record.main[0] > 1}
    table = {process.pid: process for process in system.all_processes() if process.alive}
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    spared = {1, *_with_ancestors(os.getpid(), table)}
    found: dict[int, Process] = {}
    queue = [process for process in table.values() if _is_orphan(process, recorded, sessions, folder, system)]
    while queue:
        process = queue.pop()
        if process.pid not in found and process.pid not in spared:
            found[process.pid] = process
            queue += children.get(process.pid, ())
    return list(found.values())


def _with_ancestors(pid: int, table: Mapping[int, Process]) -> set[int]:
    """Return the process and its ancestors: these have started the living agent, wherever they work."""
    found: set[int] = set()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return found


def _is_orphan(
    process: Process, recorded: set[Key], sessions: Mapping[int, float], folder: str, system: System
) -> bool:
    if process.key in recorded:
        return True
    started = sessions.get(process.session)
    if started is not None and is_of_session(process, started, system):
        return True
    where = system.folder(process.pid)
    return where is not None and where.startswith(f"{folder}/")
