"""A local file on its way in: it appears whole or not at all, and nothing of the user's own is touched before.

Links are followed. A device or a FIFO is written into. A file is written under a temporary name beside the target, made
for this download alone, and takes the mode of the file that it replaces. With ``resume`` the temporary name is made of
the target's, so that a later download finds it; it is locked, and a second download meanwhile uses one of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from pagent.client.local import StrPath
from pagent.limits import DISK_END_S, MIB
from pagent.runtime.threads import ThreadPool
from pagent.unix import O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK

_PREFIX: Final = ".pagent-part-"
_NEW: Final = os.O_RDWR | os.O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
#: Bytes of the target's name in that of its part: both have to fit into 255.
_NAME_BYTES: Final = 200


class LocalPart:
    """``async with``: ``have`` bytes are there already; write the others, then :meth:`commit`.

    Left by an error, the part is deleted, or kept with ``resume``. OSError: IsADirectoryError, a socket, a FIFO that
    nobody reads, and others. ValueError: ``resume`` of what is no regular file.
    """

    def __init__(self, target: StrPath, *, resume: bool) -> None:
        # For life.
        self._target = os.fspath(target)
        self._resume = resume
        self._threads = ThreadPool("pagent-file", 1)
        # While it is open.
        self._file = -1
        self._final = ""
        self._temporary = ""  # empty: written into
        self._replaced: os.stat_result | None = None
        self._keeps = False
        self._end = 0
        #: Bytes of an earlier download.
        self.have = 0

    async def begin_anew(self) -> None:
        """What there is already is of no use."""
        await self._threads.run(self._cut)
        self.have = 0

    async def write(self, data: bytes | memoryview) -> None:
        """The next bytes; OSError."""
        await self._threads.run(self._write, data)

    async def skip(self, size: int) -> None:
        """So many zeros are next: a hole, where the file can have one."""
        await self._threads.run(self._skip, size)

    async def sha256(self) -> str:
        """Digest of all that was written, in hex."""
        return await self._threads.run(self._digest)

    async def commit(self) -> None:
        """It is whole: let the target appear. OSError."""
        await self._threads.run(self._commit)

    def discard(self) -> None:
        """Keep nothing, whatever ``resume`` says."""
        self._keeps = False

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
        await self._leave()

    async def _leave(self) -> None:
        self._threads.submit(self._close)  # in the one thread, so after what it is doing
        await self._threads.close(DISK_END_S)

    # --- in the thread ----------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            found = os.stat(self._target)
        except FileNotFoundError:
            found = None
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._target)
        if found is None and not os.path.basename(self._target):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            self._open_special()
            return
        self._final, self._replaced = os.path.realpath(self._target), found
        if not (self._resume and self._open_resumable()):
            self._temporary = self._beside(_PREFIX + secrets.token_hex(8))
            self._file = os.open(self._temporary, _NEW | os.O_EXCL, 0o666)
        if found is not None:
            os.fchmod(self._file, stat.S_IMODE(found.st_mode) & 0o777)  # first: its content may be a secret

    def _open_special(self) -> None:
        if self._resume:
            raise ValueError(f"{self._target} is no regular file: a download into it cannot be resumed")
        # Non-blocking for the opening: a FIFO that nobody reads is an error.
        self._file = os.open(self._target, os.O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        os.set_blocking(self._file, True)

    def _open_resumable(self) -> bool:
        """False if another download has the part, or somebody else has put something in its place."""
        name = os.fsencode(os.path.basename(self._final))
        digest = hashlib.sha256(name).hexdigest()[:16]
        path = self._beside(f"{_PREFIX}{digest}-{name[:_NAME_BYTES].decode('utf-8', 'ignore')}")
        try:
            file = os.open(path, _NEW, 0o666)
        except OSError:
            return False
        if not (_is_ours(file) and _locked(file) and _still_has(path, file)):
            os.close(file)
            return False
        self._file, self._temporary, self._keeps = file, path, True
        self._end = self.have = os.lseek(file, 0, os.SEEK_END)
        return True

    def _beside(self, name: str) -> str:
        return os.path.join(os.path.dirname(self._final), name)

    def _cut(self) -> None:
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
        if self._replaced is not None:
            with suppress(OSError):  # as cp: the owner stays where that is possible
                os.fchown(self._file, self._replaced.st_uid, self._replaced.st_gid)
            os.fchmod(self._file, stat.S_IMODE(self._replaced.st_mode) & 0o777)
        os.replace(self._temporary, self._final)
        self._temporary = ""

    def _close(self) -> None:
        if self._file < 0:
            return
        if self._temporary and not (self._keeps and self._end):
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
        elif self._temporary:
            os.ftruncate(self._file, self._end)
        os.close(self._file)
        self._file = -1


def _is_ours(file: int) -> bool:
    """Could only this user have made it?"""
    found = os.fstat(file)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


def _locked(file: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: nothing else writes to an open file there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _still_has(path: str, file: int) -> bool:
    """Another download may have given the part its name just before it was locked."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file))
    except OSError:
        return False
