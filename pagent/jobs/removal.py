"""Delete a folder that a malicious program may have filled.

Such a program can nest folders deeper than the limits of paths, recursion and descriptors. So a subfolder is renamed to
the top before it is emptied, and the top is emptied until nothing is left. This takes at most three descriptors and
paths of one component, and follows no link.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from pagent.limits import MIB
from pagent.names import GONE_PREFIX
from pagent.unix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH

_PLACE = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
_LIST = os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC

#: Bytes of a folder that may be deleted in the event loop: unlinking a large file takes the time of freeing it.
REMOVE_INLINE_BYTES: Final = MIB

#: Times that a folder is emptied again if a program that is ending has written to it meanwhile.
_REFILLS = 64
#: Entries read before they are deleted: a folder of millions costs no more memory than this.
_BATCH = 4096


def remove_folder(path: Path) -> None:
    """Delete ``path`` and all below it, if it exists. The first OSError is raised after the rest is deleted."""
    try:
        top = os.open(path, _PLACE)
    except FileNotFoundError:
        return
    try:
        empty_folder(top)
    finally:
        os.close(top)
    with suppress(FileNotFoundError):
        os.rmdir(path)


def remove_if_empty(path: Path) -> bool:
    """Delete a folder; False if it is not empty."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def few_small_files(folder: int, most: int) -> list[str] | None:
    """Return the names of the files in a folder; None if they are not few, not small, or some are folders."""
    names: list[str] = []
    size = 0
    descriptor = os.open(".", os.O_RDONLY | O_DIRECTORY | O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(descriptor) as found:
            for entry in found:
                size += entry.stat(follow_symlinks=False).st_size
                names.append(entry.name)
                if entry.is_dir(follow_symlinks=False) or len(names) > most or size > REMOVE_INLINE_BYTES:
                    return None
    finally:
        os.close(descriptor)
    return names


def empty_folder(top: int) -> None:
    """Delete all that is below the folder that ``top`` is a descriptor of (O_PATH will do).

    An entry that cannot be deleted is left, and the first such OSError is raised at the end.
    """
    _Emptying(top).run()


class _Emptying:
    def __init__(self, top: int) -> None:
        self._top = top
        self._failed: dict[str, OSError] = {}
        self._refills = 0

    def run(self) -> None:
        _allow(self._top)
        while names := self._list(self._top, skip=self._failed):
            for name in names:
                self._delete(name)
        for error in self._failed.values():
            raise error

    def _delete(self, name: str) -> None:
        """Delete one entry of the top; a folder's own folders come up to the top for a later pass."""
        try:
            if _unlink(self._top, name):
                return
            self._clear_folder(name)
            os.rmdir(name, dir_fd=self._top)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTEMPTY and self._refills < _REFILLS:
                self._refills += 1
            else:
                self._failed[name] = error

    def _clear_folder(self, name: str) -> None:
        place = self._enter(self._top, name)
        try:
            error: OSError | None = None
            stuck: set[str] = set()
            while names := self._list(place, skip=stuck):
                for below in names:
                    try:
                        if not _unlink(place, below):
                            self._raise_up(place, below)
                    except FileNotFoundError:
                        pass
                    except OSError as caught:
                        stuck.add(below)
                        error = error or caught
            if error is not None:
                raise error
        finally:
            os.close(place)

    def _raise_up(self, place: int, name: str) -> None:
        with suppress(OSError):
            os.rmdir(name, dir_fd=place)
            return
        new = GONE_PREFIX + secrets.token_hex(8)
        try:
            os.rename(name, new, src_dir_fd=place, dst_dir_fd=self._top)
        except PermissionError:
            # Moving a folder rewrites its `..`: it has to be writable itself.
            os.close(self._enter(place, name))
            os.rename(name, new, src_dir_fd=place, dst_dir_fd=self._top)

    @staticmethod
    def _enter(place: int, name: str) -> int:
        """Descriptor of a folder, made readable and writable if its owner had taken that away."""
        try:
            descriptor = os.open(name, _PLACE, dir_fd=place)
        except PermissionError:
            if os.chmod not in os.supports_follow_symlinks:
                raise
            # Without O_PATH opening needs the right to read.
            os.chmod(name, 0o700, dir_fd=place, follow_symlinks=False)
            descriptor = os.open(name, _PLACE, dir_fd=place)
        try:
            _allow(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @staticmethod
    def _list(place: int, skip: set[str] | dict[str, OSError]) -> list[str]:
        names: list[str] = []
        descriptor = os.open(".", _LIST, dir_fd=place)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.name not in skip:
                        names.append(entry.name)
                        if len(names) == _BATCH:
                            break
        finally:
            os.close(descriptor)
        return names


def _unlink(place: int, name: str) -> bool:
    """Unlink; False for a folder. Linux says EISDIR of one, POSIX and macOS EPERM."""
    try:
        os.unlink(name, dir_fd=place)
    except IsADirectoryError:
        return False
    except PermissionError as error:
        if error.errno == errno.EPERM and _is_folder(place, name):
            return False
        raise
    return True


def _is_folder(place: int, name: str) -> bool:
    try:
        os.close(os.open(name, _PLACE, dir_fd=place))
    except OSError:
        return False
    return True


def _allow(folder: int) -> None:
    """Give its owner all rights in a folder."""
    if os.fstat(folder).st_mode & 0o700 == 0o700:
        return
    # fchmod(2) refuses an O_PATH descriptor; its magic link names the very folder that was opened.
    os.chmod(f"/proc/self/fd/{folder}" if O_PATH else folder, 0o700)
