"""A job's folder: the only place where a path from a peer becomes a file.

No other code joins a peer's path to a real one. The results are descriptors, and names to be used with the descriptor
of their folder (``dir_fd``), so that no rename or link of the job meanwhile changes the path that was resolved
(docs/contract.rst, "Sandbox").

Paths are relative to the sandbox, with ``/`` between names; ``..`` removes the name before it. Names are in the form of
`pagent.names`, which can express those that are not UTF-8. Errors: TypeError for a path that is no str, ValueError for
an invalid path or one that leaves the sandbox, the system's OSError otherwise. They contain the path of the peer, never
a path of this machine.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from pagent.jobs.kept_logs import KeptLogs
from pagent.jobs.openat_beneath import FOLDER, Opener, open_by_walk, openat_beneath
from pagent.jobs.paths import components, file_components, is_plain
from pagent.jobs.removal import REMOVE_INLINE_BYTES, empty_folder, few_small_files, remove_folder, remove_if_empty
from pagent.jobs.shared_descriptor import SharedDescriptor
from pagent.names import SPOOL_PREFIX, is_own
from pagent.unix import O_CLOEXEC, O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH

_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC
_O_TMPFILE: Final[int] = getattr(os, "O_TMPFILE", 0)


class Sandbox:
    """The folder of one job. All methods may be called in any thread, also at the same time.

    A descriptor of the folder is held from the start, so that the folder stays the same one whatever is renamed
    above it.
    """

    def __init__(self, path: Path, folder: int, opener: Opener = openat_beneath, *, of_job: bool = False) -> None:
        self.path = path
        self._of_job = of_job
        self._open = opener
        self._user: tuple[int, int] | None = None  # the owner of all files in it, if not the agent's user
        self.replacing = threading.Lock()  # between the comparison of a file and its replacement or removal
        self._logs = KeptLogs()  # of files that open_output made
        self._folder = SharedDescriptor(folder, self._logs.close)

    @classmethod
    def create(cls, root: Path, uid: str, *, opener: Opener = openat_beneath) -> Sandbox:
        """Make ``root/uid`` with mode 0700. OSError: it exists, there is no ``root``, no descriptor is left."""
        assert is_plain(uid), "the uid is our own"
        path = root / uid
        try:
            folder = _make_folder(path)
        except OSError as error:
            raise _named(error, uid) from None
        return cls(path, folder, opener, of_job=True)

    def is_reserved(self, path: str) -> bool:
        """Return whether ``path`` is the agent's own, in a job's folder: no peer may replace or remove it."""
        return self._of_job and is_own("/".join(components(path)))

    def check_target(self, path: str) -> None:
        """Raise ValueError if a peer may not write or remove the file of that path."""
        if self.is_reserved(path):
            raise ValueError(f"{path!r} belongs to the agent: it can be neither written nor removed")

    # --- a peer's paths ---------------------------------------------------------------------------

    def open_dir(self, path: str) -> int:
        """Return a descriptor of a folder, to list it; ``''`` and ``'.'`` are the sandbox itself."""
        return self._resolve(components(path), os.O_RDONLY | O_DIRECTORY, path)

    def open_read(self, path: str) -> int:
        """Return a descriptor of a regular file; links that stay in the sandbox are followed.

        IsADirectoryError for a folder, ValueError for a FIFO, a socket or a device. Never waits for one.
        """
        parts = file_components(path)
        try:
            descriptor = self._resolve(parts, os.O_RDONLY | O_NONBLOCK | O_NOCTTY, path)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device without a driver
                raise ValueError(f"not a regular file: {path!r}") from None
            raise
        return _regular(descriptor, path)

    def open_parent(self, path: str, *, create: bool) -> tuple[int, str]:
        """Return a descriptor of the folder that ``path`` is in, and the last name of ``path``, which may not exist.

        With ``create`` missing folders are made, 0755 less the umask. The descriptor is a place for ``dir_fd``, it may
        not be readable. The name is one component; use it only in ways that do not follow links.
        """
        parts = file_components(path)
        return self._open_folders(parts[:-1], path, create), parts[-1]

    def _open_folders(self, parts: list[str], path: str, create: bool) -> int:
        try:
            return self._resolve(parts, FOLDER, path)
        except FileNotFoundError:
            if not create:
                raise
        place = self._resolve([], FOLDER, path)
        for depth in range(1, len(parts) + 1):
            try:
                # From the top each time: a link on the way may lead up again and still stay in the sandbox.
                with suppress(FileExistsError):
                    self.make_dir(place, parts[depth - 1])
            except OSError as error:
                raise _named(error, path) from None
            finally:
                os.close(place)
            place = self._resolve(parts[:depth], FOLDER, path)
        return place

    def stat_at(self, place: int, name: str) -> os.stat_result:
        """Return the status of ``name`` in the folder of the descriptor ``place``. A link is not followed.

        OSError EXDEV for the root of another file system, which is not accessed (where openat2 exists).
        """
        if not O_PATH:
            return os.stat(name, dir_fd=place, follow_symlinks=False)
        descriptor = self._open(place, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def is_direct(self, place: int, path: str) -> bool:
        """Return whether ``place`` is the folder that ``path`` is in, reached through no link."""
        found = os.fstat(place)
        with self._folder.using(path) as folder:
            try:
                direct = open_by_walk(folder, "/".join(file_components(path)[:-1]), FOLDER)
            except OSError:
                return False
        try:
            return os.path.samestat(found, os.fstat(direct))
        finally:
            os.close(direct)

    def make_dir(self, place: int, name: str) -> None:
        """Make a folder, 0755 less the umask, in that of the descriptor ``place``. OSError, also if it exists."""
        os.mkdir(name, 0o755, dir_fd=place)
        if self._user is None:
            return
        with suppress(OSError):  # the job has replaced it already, and may
            folder = os.open(name, os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, dir_fd=place)
            try:
                found = os.fstat(folder)
                # The job owns a file that it has put there, or may write to it; otherwise it could not have moved it.
                if found.st_uid == os.geteuid() and not found.st_mode & 0o022:
                    self.hand_over(folder)
            finally:
                os.close(folder)

    def hand_over(self, descriptor: int) -> None:
        """Give a file or folder that the agent has made to the user of the sandbox."""
        if self._user is not None:
            os.fchown(descriptor, *self._user)

    def _resolve(self, parts: list[str], flags: int, path: str) -> int:
        with self._folder.using(path) as folder:
            try:
                if not parts:
                    return os.open(".", flags | O_CLOEXEC, dir_fd=folder)
                return self._open(folder, "/".join(parts), flags, 0)
            except OSError as error:
                if error.errno in (errno.EXDEV, errno.ELOOP):
                    raise ValueError(f"path leaves the sandbox: {path!r}") from None
                raise _named(error, path) from None

    # --- the agent's own files --------------------------------------------------------------------

    def open_output(self, name: str) -> int:
        """Return a descriptor of an empty file for a job's output, to append to; :meth:`open_log` reads it.

        ValueError or OSError if the name is that of a link, a folder or no regular file. A file that has other
        names too is left to them and replaced by a new one.
        """
        assert is_plain(name), "the name is our own"
        with self._folder.using(name) as folder:
            return self._logs.make(name, folder)

    def open_log(self, name: str) -> int:
        """Return a descriptor of the file that :meth:`open_output` made, not of its present name. FileNotFoundError."""
        return self._logs.open(name)

    def log_size(self, name: str) -> int:
        """Return the size of the file that :meth:`open_log` opens; 0 if there is none."""
        return self._logs.size_of(name)

    def output_size(self) -> int:
        """Return the bytes that are in the files of :meth:`open_output`; 0 if there are none."""
        return self._logs.size()

    def open_spool(self) -> int:
        """Return a descriptor of a file without a name on the sandbox's disk: its close deletes it."""
        with self._folder.using("spool") as folder:
            if _O_TMPFILE:
                # EOPNOTSUPP: not this file system. EISDIR, ENOENT: a kernel that does not know the flag.
                with suppress(OSError):
                    return os.open(".", _O_TMPFILE | os.O_RDWR | os.O_EXCL | O_CLOEXEC, 0o600, dir_fd=folder)
            name = SPOOL_PREFIX + secrets.token_hex(8)
            descriptor = os.open(name, os.O_RDWR | _NEW_FILE, 0o600, dir_fd=folder)
            with suppress(FileNotFoundError):  # the job has removed it already
                os.unlink(name, dir_fd=folder)
            return descriptor

    def give_to(self, uid: int, gid: int) -> None:
        """Give the sandbox, all files in it and all later ones to a user. Blocking.

        From the bottom up, and the sandbox itself last: as long as it is the agent's, no other user can get in and
        replace files that are given away. A file that has names outside of the sandbox would be given away there, too:
        ValueError for one with several names that is not the user's already.
        """
        self._user = uid, gid  # first: a file that appears meanwhile is handed over where it is made
        with self._folder.using("") as place:
            for path, folders, files, folder in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=place):
                for name in folders + files:
                    with suppress(FileNotFoundError):
                        _give(folder, name, os.path.normpath(os.path.join(path, name)), uid, gid)
            os.chown(".", uid, gid, dir_fd=place, follow_symlinks=False)

    # --- the end ----------------------------------------------------------------------------------

    def remove(self) -> None:
        """Delete the sandbox with all its content. Blocking. A second call does nothing.

        An entry that cannot be deleted is left, and its OSError is raised after the rest is deleted. Another call tries
        again.
        """
        if not self._folder.removed:
            try:
                with self._folder.using("") as folder:
                    empty_folder(folder)
            finally:
                self._folder.close()
        try:
            remove_folder(self.path)
        except OSError as error:
            raise _named(error, Path(error.filename or "").name) from None

    def remove_if_small(self, entries: int = 8) -> bool:
        """Delete the sandbox if that is quick: at most ``entries`` files, small ones, and no folders.

        False if it is not, with nothing deleted but a job's small output files, or if something kept it from being
        complete: call :meth:`remove` in a thread then.
        """
        if self._folder.removed:
            return not os.path.lexists(self.path)
        try:
            with self._folder.using("") as folder:
                self._delete_outputs(folder)
                # Most jobs leave nothing more, and an attempt costs less than a listing.
                if not remove_if_empty(self.path):
                    names = few_small_files(folder, entries)
                    if names is None:
                        return False
                    for name in names:
                        os.unlink(name, dir_fd=folder)
                    os.rmdir(self.path)
        except OSError:
            return False
        self._folder.close()
        return True

    def _delete_outputs(self, folder: int) -> None:
        size = 0
        for name in self._logs.names():
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                size += found.st_size
                if stat.S_ISREG(found.st_mode) and size <= REMOVE_INLINE_BYTES:
                    os.unlink(name, dir_fd=folder)


def _make_folder(path: Path) -> int:
    os.mkdir(path, 0o700)
    try:
        return os.open(path, FOLDER | O_NOFOLLOW)
    except OSError:
        os.rmdir(path)
        raise


def _regular(descriptor: int, path: str) -> int:
    """Return the same descriptor if it is of a regular file; close it otherwise."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise ValueError(f"not a regular file: {path!r}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _named(error: OSError, path: str) -> OSError:
    """Return the same error about the path that the peer gave."""
    return OSError(error.errno, error.strerror, path)


def _give(folder: int, name: str, path: str, uid: int, gid: int) -> None:
    """Change the owner of one name in a folder, of nothing that it leads to. ValueError as of ``give_to``."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1 and found.st_uid != uid:
        raise ValueError(f"{path!r} cannot become the job's: the file has several names")
    os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
