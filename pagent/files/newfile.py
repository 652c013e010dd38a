"""Write a file that appears when it is complete: under a temporary name in the same folder, then renamed.

A file that is mounted (into a container, for example) can be written but not replaced: the complete data is then copied
into it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from pagent.buffers import Bytes, remaining
from pagent.errors import FileOffsetError
from pagent.files.condition import Condition, version_of
from pagent.files.sandbox_access import SandboxAccess
from pagent.limits import MIB
from pagent.names import UPLOAD_PREFIX, from_wire, partial_of, to_wire
from pagent.unix import FALLOC_KEEP_SIZE, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, fallocate

#: Bytes of blocks that a growing file reserves ahead, and the size from which it does. Blocks that are allocated one by
#: one cost twice the time, and are scattered over the disk.
DISK_RESERVE: Final = 4 * MIB
DISK_RESERVE_FROM: Final = MIB


_FLAGS: Final = os.O_RDWR | O_NOFOLLOW | O_CLOEXEC

#: Most buffers of one writev(2).
_IOV_MAX: Final = 1024


class FileAttributes(NamedTuple):
    """The mode and time of a complete file; None for those of a new file, or of the file that it replaces."""

    mode: int | None = None
    mtime_ns: int | None = None


class NewFile:
    """An unfinished file of a sandbox; blocking. Ended by :meth:`commit`, :meth:`keep` or :meth:`discard`.

    The umask applies to ``mode``, as for any new file. Errors name ``path`` as the peer gave it.
    """

    def __init__(self, sandbox: SandboxAccess, path: str, mode: int) -> None:
        self._path = path
        self._sandbox = sandbox
        self._made = True  # by this object, so the user of the sandbox does not own it yet
        self._end = 0  # where the next write goes
        self._reserved = 0  # up to where there are blocks for it
        self._may_reserve = True
        self._skipped = False
        #: The version of the file once it has appeared, and whether there was none of its name before.
        self.version = ""
        self.created = False
        sandbox.check_target(path)
        self._folder, self._name = sandbox.open_parent(path, create=True)
        self._temporary = UPLOAD_PREFIX + secrets.token_hex(8)
        self._file = -1
        try:
            self._file = os.open(self._temporary, _FLAGS | os.O_CREAT | os.O_EXCL, mode, dir_fd=self._folder)
        except OSError as error:
            os.close(self._folder)
            raise self._named(error) from None
        self._mode = stat.S_IMODE(os.fstat(self._file).st_mode)

    @property
    def file(self) -> int:
        """The descriptor, to read the written bytes."""
        return self._file

    def check_target(self) -> None:
        """Raise OSError or ValueError if there is a folder or special file of that name, which is not replaced.

        Until the file appears it can be read only by users that can read the file that it replaces.
        """
        try:
            mode = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._named(error) from None
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise ValueError(f"not a regular file: {self._path!r}")
        os.fchmod(self._file, self._lasting_mode() & ~0o111)

    def _lasting_mode(self) -> int:
        """Return the mode of the file that is replaced, with execution if it was asked for.

        Otherwise that of a new file.
        """
        try:
            mode = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return self._mode
        return mode & 0o777 | self._mode & 0o111 if stat.S_ISREG(mode) else self._mode

    @property
    def _kept(self) -> str:
        """Name of the kept part, in the folder of the file."""
        return from_wire(partial_of(to_wire(self._name)))

    def continue_from(self, offset: int, mode: int) -> None:
        """Continue the part that :meth:`keep` kept, cut to ``offset`` bytes. ValueError if it is shorter."""
        kept = self._kept
        try:
            file = os.open(kept, _FLAGS | O_NONBLOCK, dir_fd=self._folder)
        except FileNotFoundError:
            raise FileOffsetError(f"cannot continue {self._path!r} at {offset}: 0 bytes of it are kept") from None
        except OSError as error:
            raise self._named(error) from None
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise ValueError(f"not a regular file: {partial_of(self._path)!r}")
            if found.st_size < offset:
                raise FileOffsetError(
                    f"cannot continue {self._path!r} at {offset}: {found.st_size} bytes of it are kept"
                )
            # Renamed to the temporary name the kept part is not found by other uploads.
            os.fchmod(file, os.fstat(self._file).st_mode & mode)
            os.rename(kept, self._temporary, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.ftruncate(file, offset)
            os.lseek(file, offset, os.SEEK_SET)
        except BaseException:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._made = file, False  # it was given to its owner when it was kept
        self._end = self._reserved = offset

    def write(self, *parts: bytes | bytearray | memoryview) -> None:
        """Write all of them where the last write ended. OSError, for example of a full disk."""
        rest: list[Bytes] = list(parts)
        end = self._end + sum(map(len, rest))
        if end > max(self._reserved, DISK_RESERVE_FROM) and self._may_reserve:
            self._reserve(end + DISK_RESERVE)
        try:
            # As few system calls as possible: each releases the interpreter lock and has to take it again.
            while rest:
                rest = remaining(rest, writev(self._file, rest[:_IOV_MAX]))
        except OSError as error:
            raise self._named(error) from None
        self._end = end

    def _reserve(self, reserved: int) -> None:
        """Reserve blocks up to ``reserved`` for data that will probably follow. If that fails, the write reports why.

        The reservation also covers written bytes. When a file takes the name of another while some of it has
        no blocks, ext4 writes all of it to the disk at once, as a precaution against a power failure.
        """
        if fallocate(self._file, FALLOC_KEEP_SIZE, self._reserved, reserved - self._reserved) == 0:
            self._reserved = reserved
        else:
            self._may_reserve = False

    def _trim(self) -> None:
        """Release unused reserved blocks, before something follows them."""
        if self._reserved > self._end:
            os.ftruncate(self._file, self._end)
            self._reserved = self._end

    def skip(self, size: int) -> None:
        """Leave a hole of ``size`` bytes."""
        self.seek(self._end + size)

    def seek(self, offset: int) -> None:
        """Let the next write begin at ``offset``.

        The bytes before it that are not written are a hole, also at the end.
        """
        self._trim()
        self._skipped = True
        os.lseek(self._file, offset, os.SEEK_SET)
        self._end = offset
        self._may_reserve = False  # a reservation would fill the next hole

    def commit(
        self, *, mode: int | None = None, mtime_ns: int | None = None, condition: Condition | None = None
    ) -> None:
        """Let the file appear with the mode and time given. It replaces one of the same name; a kept part is deleted.

        Without ``mode`` it gets that of the file that it replaces. FileChangedError: there is another file than
        ``condition`` says.
        """
        try:
            self._set_length()
            self._hand_over()
            os.fchmod(self._file, self._lasting_mode() if mode is None else mode & 0o777)
            if mtime_ns is not None:
                os.utime(self._file, ns=(mtime_ns, mtime_ns))
            # Closed first: a network file system may report a full disk only then.
            file, self._file = self._file, -1
            os.close(file)
            with self._sandbox.replacing:
                if condition is not None:
                    condition.check(self._sandbox, self._path)
                self.created = not self._exists()
                self._take_name()
                self.version = version_of(self._status())
        except OSError as error:
            self.discard()
            raise self._named(error) from None
        with suppress(OSError):  # there seldom is one, and it does no harm
            os.unlink(self._kept, dir_fd=self._folder)
        self._close()

    def _status(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)

    def _exists(self) -> bool:
        try:
            self._status()
        except FileNotFoundError:
            return False
        return True

    def _take_name(self) -> None:
        """Rename the file to its target. A file that is mounted cannot be replaced, so it is written in place."""
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self._copy_to_target(error)
            os.unlink(self._temporary, dir_fd=self._folder)

    def _copy_to_target(self, busy: OSError) -> None:
        with ExitStack() as stack:
            source = os.open(self._temporary, os.O_RDONLY | O_NOFOLLOW | O_CLOEXEC, dir_fd=self._folder)
            stack.callback(os.close, source)
            target = os.open(self._name, os.O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, dir_fd=self._folder)
            stack.callback(os.close, target)
            if not stat.S_ISREG(os.fstat(target).st_mode):
                raise busy
            overwrite(source, target)

    def _set_length(self) -> None:
        """Give the file its length, which a hole at its end has not."""
        self._trim()
        if self._skipped:
            os.ftruncate(self._file, self._end)

    def keep(self, *rest: bytes | bytearray | memoryview) -> None:
        """Keep the written bytes, and ``rest``, for :meth:`continue_from`, in place of an earlier part.

        After an error nothing is left. Does nothing once the file has ended.
        """
        if self._folder < 0:
            return
        try:
            self.write(*rest)
            self._set_length()
            self._hand_over()
            os.rename(self._temporary, self._kept, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            self.discard()
        else:
            self._close()

    def discard(self) -> None:
        """Delete the file. Does nothing once it has ended."""
        if self._folder < 0:
            return
        with suppress(FileNotFoundError):  # the job may have deleted it
            os.unlink(self._temporary, dir_fd=self._folder)
        self._close()

    def _hand_over(self) -> None:
        if self._made:
            self._sandbox.hand_over(self._file)

    def _close(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, self._path)


def overwrite(source: int, target: int) -> None:
    """Replace the content of an open file by that of another. OSError."""
    at = 0
    while data := os.pread(source, MIB, at):
        at += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]
    os.ftruncate(target, at)


def writev(file: int, parts: list[Bytes]) -> int:
    """Write buffers with one system call; return how many bytes were written, of the first buffer at least."""
    if hasattr(os, "writev"):
        return os.writev(file, parts)
    return os.write(file, parts[0])
