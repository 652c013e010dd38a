"""A local file that is being downloaded. The target keeps its content until the download is complete.

The data goes to a temporary file, which then replaces the target and takes its mode. Symbolic links are followed. Data
for a device or a FIFO is written into it directly.

Some files can be written but not replaced, for example one that is mounted into a container. Then the complete data is
copied into the target. The temporary file is beside the target, or in the system's folder for temporary files if the
folder of the target is not writable.

With ``resume`` the temporary file has a name that is made from the target's, so that a later download finds it. It is
locked; a second download at the same time uses a temporary file of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from pagent.client.local_files import StrPath
from pagent.files.newfile import overwrite
from pagent.limits import DISK_END_S, MIB
from pagent.runtime.threads import ThreadPool
from pagent.unix import O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK

#: The beginning of the names of incomplete files.
PARTIAL_PREFIX: Final = ".pagent-part-"
_NEW: Final = os.O_RDWR | os.O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
#: Bytes of the target's name in the name of a resumable temporary file, whose name can have 255 bytes.
_NAME_BYTES: Final = 200

#: The folder does not let this user create or replace files.
_FOLDER_ERRORS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
#: The disk is full, or the user's quota is, or a limit of the size of files is reached.
_SHORTAGES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The target cannot be replaced: it is a mount point, or the folder does not allow it.
_REPLACE_ERRORS: Final = (errno.EBUSY, *_FOLDER_ERRORS)


class PartialFile:
    """An async context manager. Write the data after the first ``have`` bytes, then call :meth:`commit`.

    After an error the temporary file is deleted, or kept with ``resume``; a full disk keeps nothing.

    :param mode: permission bits of the complete file. Before, only its owner can read it.
    :param mtime: its time, in seconds since the epoch.
    :param follow: otherwise a symbolic link that is the target is replaced.
    :raises OSError: also for a folder, a socket, and a FIFO without a reader.
    :raises ValueError: ``resume`` for a target that is not a regular file.
    """

    def __init__(
        self,
        target: StrPath,
        *,
        resume: bool,
        mode: int | None = None,
        mtime: float | None = None,
        follow: bool = True,
    ) -> None:
        # For life.
        self._target = os.fspath(target)
        self._resume = resume
        self._mode = mode
        self._mtime = mtime
        self._follow = follow
        self._threads = ThreadPool("pagent-file", 1)
        # While it is open.
        self._file = -1
        self._final = ""  # the target, with symbolic links resolved
        self._temporary = ""  # empty for a device or a FIFO
        self._is_elsewhere = False  # whether the temporary file is in another folder than the target
        self._replaced: os.stat_result | None = None
        self._is_kept = False
        self._end = 0
        #: Bytes that an earlier download has left.
        self.have = 0

    async def start_over(self) -> None:
        """Drop the bytes of an earlier download."""
        await self._threads.run(self._truncate)
        self.have = 0

    async def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes. OSError."""
        await self._threads.run(self._write, data)

    async def skip(self, size: int) -> None:
        """Write ``size`` zeros, as a hole where the file can have one. OSError."""
        await self._threads.run(self._skip, size)

    async def sha256(self) -> str:
        """Return the SHA-256 digest of the data, in hex."""
        return await self._threads.run(self._digest)

    async def commit(self) -> None:
        """Replace the target: the data is complete. OSError."""
        await self._threads.run(self._commit)

    def discard(self) -> None:
        """Delete the temporary file at the end, also with ``resume``."""
        self._is_kept = False

    async def __aenter__(self) -> Self:
        try:
            await self._threads.run(self._open)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            self.discard()
        await self._leave()

    async def _leave(self) -> None:
        self._threads.submit(self._close)  # in the one thread, so after its current work
        await self._threads.close(DISK_END_S)

    # --- in the thread ----------------------------------------------------------------------------

    def _open(self) -> None:
        found = self._existing()
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._target)
        if found is None and not os.path.basename(self._target):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            self._open_special()
            return
        folder, name = os.path.split(self._target)
        self._final = os.path.realpath(self._target) if self._follow else os.path.join(os.path.realpath(folder), name)
        self._replaced = found
        if not (self._resume and self._open_resumable()):
            self._open_temporary()
        # Before the data, which may be secret.
        if self._mode is not None:
            os.fchmod(self._file, 0o600)
        elif found is not None:
            os.fchmod(self._file, stat.S_IMODE(found.st_mode) & 0o777)

    def _existing(self) -> os.stat_result | None:
        """Return the status of the file that the data replaces; None for none, and for a link not followed."""
        try:
            found = os.stat(self._target, follow_symlinks=self._follow)
        except FileNotFoundError:
            return None
        return None if stat.S_ISLNK(found.st_mode) else found

    def _open_special(self) -> None:
        if self._resume:
            raise ValueError(f"{self._target} is not a regular file: a download into it cannot be resumed")
        # Opening a FIFO without a reader is an error, not a wait.
        self._file = os.open(self._target, os.O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        os.set_blocking(self._file, True)

    def _open_temporary(self) -> None:
        path = self._sibling(PARTIAL_PREFIX + secrets.token_hex(8))
        try:
            self._file = os.open(path, _NEW | os.O_EXCL, 0o666)
            self._temporary = path
        except OSError as error:
            if self._replaced is None or error.errno not in _FOLDER_ERRORS:
                raise
            os.close(self._open_target())  # report a target that cannot be written before the download
            self._file, self._temporary = tempfile.mkstemp(prefix=PARTIAL_PREFIX)
            self._is_elsewhere = True

    def _open_resumable(self) -> bool:
        """Open the resumable temporary file. Return False if another download or another user has it."""
        name = os.fsencode(os.path.basename(self._final))
        digest = hashlib.sha256(name).hexdigest()[:16]
        path = self._sibling(f"{PARTIAL_PREFIX}{digest}-{name[:_NAME_BYTES].decode('utf-8', 'ignore')}")
        try:
            file = os.open(path, _NEW, 0o666)
        except OSError:
            return False
        if not (_is_ours(file) and _locked(file) and _still_has(path, file)):
            os.close(file)
            return False
        self._file, self._temporary, self._is_kept = file, path, True
        self._end = self.have = os.lseek(file, 0, os.SEEK_END)
        return True

    def _sibling(self, name: str) -> str:
        return os.path.join(os.path.dirname(self._final), name)

    def _open_target(self) -> int:
        return os.open(self._final, os.O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

    def _truncate(self) -> None:
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._end = 0

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            done = os.write(self._file, rest)
            self._end += done
            rest = rest[done:]

    def _skip(self, size: int) -> None:
        if self._temporary:
            self._end += size
            os.lseek(self._file, self._end, os.SEEK_SET)
            return
        while size:
            step = min(size, MIB)
            self._write(bytes(step))
            size -= step

    def _digest(self) -> str:
        digest = hashlib.sha256()
        os.ftruncate(self._file, self._end)
        at = 0
        while data := os.pread(self._file, MIB, at):
            digest.update(data)
            at += len(data)
        return digest.hexdigest()

    def _commit(self) -> None:
        if not self._temporary:
            return
        os.ftruncate(self._file, self._end)
        if self._is_elsewhere:
            self._copy_to_target()
            return
        if self._replaced is not None:
            with suppress(OSError):  # as cp does: keep the owner where the system allows it
                os.fchown(self._file, self._replaced.st_uid, self._replaced.st_gid)
            os.fchmod(self._file, stat.S_IMODE(self._replaced.st_mode) & 0o777)
        self._set_attributes()
        try:
            os.replace(self._temporary, self._final)
        except OSError as error:
            if self._replaced is None or error.errno not in _REPLACE_ERRORS:
                raise
            self._copy_to_target()
        else:
            self._temporary = ""

    def _set_attributes(self) -> None:
        if self._mode is not None:
            os.fchmod(self._file, self._mode & 0o777)
        if self._mtime is not None:
            mtime_ns = round(self._mtime * 10**9)
            os.utime(self._file, ns=(mtime_ns, mtime_ns))

    def _copy_to_target(self) -> None:
        """Copy the data into the target, which cannot be replaced. Then the temporary file is not needed."""
        target = self._open_target()
        try:
            overwrite(self._file, target)
        finally:
            os.close(target)
        self._is_kept = False

    def _close(self) -> None:
        if self._file < 0:
            return
        if self._temporary and not (self._is_kept and self._end):
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
        elif self._temporary:
            os.ftruncate(self._file, self._end)
        os.close(self._file)
        self._file = -1


def _is_ours(file: int) -> bool:
    """Return whether only this user can have created the file."""
    found = os.fstat(file)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


def _locked(file: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be opened for writing a second time
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _still_has(path: str, file: int) -> bool:
    """Return whether the path still names the file: another download may have moved it before it was locked."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file))
    except OSError:
        return False
