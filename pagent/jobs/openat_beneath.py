"""Open a relative path so that it cannot leave the folder that it starts in.

Two ways of the same shape, ``(folder, path, flags, mode) -> descriptor``:

* :func:`open_by_kernel`: openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_XDEV and RESOLVE_NO_MAGICLINKS. The
  kernel checks every step while it takes it, so nothing that another process renames meanwhile can lead
  outside. Links that stay below the folder are followed.
* :func:`open_by_walk`: where there is no openat2 (Linux before 5.6, a seccomp filter, other systems), a
  walk component by component, each opened without following links. Every link is refused.

Neither enters a file system that is mounted below the folder (EXDEV): it is not the sandbox's disk, and may hang.

:func:`openat_beneath` is the better one that this system has. Paths are made of plain components: none is empty,
``.`` or ``..``. An empty path is the folder itself.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
import sys
from collections.abc import Callable
from typing import Final

from pagent.unix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH

Opener = Callable[[int, str, int, int], int]

#: Opens a folder as a place to start from: needs no right to read it.
FOLDER: Final = O_PATH | O_DIRECTORY | O_CLOEXEC

#: openat2(2) came after the tables of all machines had been aligned; these machines keep their own offset.
_OPENAT2: Final = 437
_OPENAT2_OFFSET: Final = {"alpha": 110, "mips": 4000, "mips64": 5000}

_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08

#: The kernel answers EAGAIN when a rename anywhere raced with the look-up of a `..` inside a link.
_TRIES: Final = 16


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@functools.cache
def _syscall() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


def open_by_kernel(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Return a descriptor by openat2(2) with RESOLVE_BENEATH. OSError: EXDEV or ELOOP for a path that leaves."""
    how = _OpenHow(flags | O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS)
    number = _OPENAT2 + _OPENAT2_OFFSET.get(platform.machine(), 0)
    name = os.fsencode(path or ".")
    error = 0
    for _ in range(_TRIES):
        descriptor = _syscall()(
            ctypes.c_long(number),
            ctypes.c_int(folder),
            ctypes.c_char_p(name),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if descriptor >= 0:
            return descriptor
        error = ctypes.get_errno()
        if error not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(error, os.strerror(error), path)


def open_by_walk(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Return a descriptor, component by component from ``folder``. OSError; ELOOP for any link."""
    parts = path.split("/") if path else ["."]
    place = folder
    try:
        for part in parts[:-1]:
            below = _step(place, part, FOLDER, 0, path)
            _stay(below, folder, path)
            if place != folder:
                os.close(place)
            place = below
        found = _step(place, parts[-1], flags, mode, path)
        _stay(found, folder, path)
        return found
    finally:
        if place != folder:
            os.close(place)


def _step(place: int, part: str, flags: int, mode: int, path: str) -> int:
    try:
        return os.open(part, flags | O_NOFOLLOW | O_CLOEXEC, mode, dir_fd=place)
    except OSError as error:
        # With O_DIRECTORY a link is "not a folder" on Linux; FreeBSD says EMLINK for ELOOP.
        number = error.errno or errno.EIO
        if number in (errno.ENOTDIR, errno.EMLINK) and _is_link(place, part):
            number = errno.ELOOP
        raise OSError(number, os.strerror(number), path) from None


def _stay(descriptor: int, folder: int, path: str) -> None:
    """Raise EXDEV, and close the descriptor, if it is of another file system than the folder."""
    if not _is_same_system(descriptor, folder):
        os.close(descriptor)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)


def _is_same_system(descriptor: int, folder: int) -> bool:
    found = os.fstat(descriptor)
    if found.st_dev == os.fstat(folder).st_dev:
        return True
    # Folders of an overlay file system share one device number. Its files may have that of the layer that they are from
    # (the kernel's page on overlayfs, "Inode properties"); the id of the file system is that of the folders.
    return not stat.S_ISDIR(found.st_mode) and os.fstatvfs(descriptor).f_fsid == os.fstatvfs(folder).f_fsid


def _is_link(place: int, part: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=place, follow_symlinks=False).st_mode)
    except OSError:
        return False


@functools.cache
def has_openat2() -> bool:
    """Return whether openat2 works here. A kernel may lack it (ENOSYS), a seccomp filter deny it (EPERM)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        start = os.open("/", FOLDER)
    except OSError:
        return False
    try:
        os.close(open_by_kernel(start, "", FOLDER))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL)
    else:
        return True
    finally:
        os.close(start)


def openat_beneath(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Return a descriptor in the better of the two ways that this system has."""
    return (open_by_kernel if has_openat2() else open_by_walk)(folder, path, flags, mode)
