"""A mounted file, or folder, whose server answers nothing but questions for its attributes.

A process that reads the file, or uses a name in the folder, waits until it is closed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

_INIT: Final = 26
_GETATTR: Final = 3
_OPEN: Final = 14
#: LOOKUP, READ, CREATE, TMPFILE.
_UNANSWERED: Final = (1, 15, 35, 51)

_HEAD: Final = struct.Struct("=IIQQIIII")
_ANSWER: Final = struct.Struct("=IiQ")
_FORCE: Final = 1
_DETACH: Final = 2
_DIRECT_IO: Final = 1

_INIT_ANSWER: Final = struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 16, 4096, 1, 1, 0, 0, *[0] * 7)


class _Mounted:
    """The server. ``waits`` is set once something waits. Where it has not read a request, a signal ends the wait."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.waits = threading.Event()
        attributes = struct.pack("=6Q10I", 1, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
        self._answers = {_INIT: _INIT_ANSWER, _GETATTR: struct.pack("=QII", 3600, 0, 0) + attributes}
        if stat.S_ISREG(mode):
            path.touch()
            self._answers[_OPEN] = struct.pack("=QII", 1, _DIRECT_IO, 0)
        else:
            path.mkdir(exist_ok=True)
        self._server = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._server},rootmode={mode:o},user_id=0,group_id=0,allow_other".encode()
        if ctypes.CDLL(None, use_errno=True).mount(b"file", bytes(path), b"fuse", 0, options) != 0:
            os.close(self._server)
            pytest.skip(f"cannot be mounted: {os.strerror(ctypes.get_errno())}")
        self._stopped, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no further request, as a server that is stopped."""
        os.write(self._stopping, b"x")
        self._thread.join()

    def _serve(self) -> None:
        while self._stopped not in select.select((self._server, self._stopped), (), ())[0]:
            try:
                request = os.read(self._server, 1 << 17)
            except OSError:  # unmounted
                return
            _, opcode, unique, *_ = _HEAD.unpack_from(request)
            if opcode in _UNANSWERED:
                self.waits.set()
                continue
            answer = self._answers.get(opcode)
            error = 0 if answer is not None else -errno.ENOSYS
            os.write(self._server, _ANSWER.pack(_ANSWER.size + len(answer or b""), error, unique) + (answer or b""))

    def close(self) -> None:
        """Let all that wait get an error."""
        ctypes.CDLL(None, use_errno=True).umount2(bytes(self.path), _FORCE | _DETACH)
        self.stop()
        for descriptor in (self._server, self._stopped, self._stopping):
            os.close(descriptor)


@contextmanager
def _mounted(path: Path, mode: int) -> Iterator[_Mounted]:
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    server = _Mounted(path, mode)
    try:
        yield server
    finally:
        server.close()


def unreadable_file(path: Path) -> AbstractContextManager[_Mounted]:
    """Mount the file for the length of a block. Skips the test where that cannot be."""
    return _mounted(path, stat.S_IFREG | 0o444)


def hung_folder(path: Path) -> AbstractContextManager[_Mounted]:
    """Mount a folder for the length of a block, as :func:`unreadable_file`."""
    return _mounted(path, stat.S_IFDIR | 0o777)
