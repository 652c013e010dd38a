"""A mounted file whose server answers everything but reads: a process that reads it waits until it is closed."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_INIT: Final = 26
_GETATTR: Final = 3
_OPEN: Final = 14
_READ: Final = 15

_HEAD: Final = struct.Struct("=IIQQIIII")
_ANSWER: Final = struct.Struct("=IiQ")
_FORCE: Final = 1
_DETACH: Final = 2
_DIRECT_IO: Final = 1

_ATTRIBUTES: Final = struct.pack("=6Q10I", 1, 4096, 8, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o444, 1, 0, 0, 0, 4096, 0)
_ANSWERS: Final = {
    _INIT: struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 16, 4096, 1, 1, 0, 0, *[0] * 7),
    _GETATTR: struct.pack("=QII", 3600, 0, 0) + _ATTRIBUTES,
    _OPEN: struct.pack("=QII", 1, _DIRECT_IO, 0),
}


class UnreadableFile:
    """The server. ``read`` is set once a read waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = threading.Event()
        path.touch()
        self._server = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._server},rootmode=100444,user_id=0,group_id=0,allow_other".encode()
        if ctypes.CDLL(None, use_errno=True).mount(b"file", bytes(path), b"fuse", 0, options) != 0:
            os.close(self._server)
            pytest.skip(f"cannot be mounted: {os.strerror(ctypes.get_errno())}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._server, 1 << 17)
            except OSError:  # unmounted
                return
            _, opcode, unique, *_ = _HEAD.unpack_from(request)
            if opcode == _READ:
                self.read.set()
                continue
            answer = _ANSWERS.get(opcode)
            error = 0 if answer is not None else -errno.ENOSYS
            os.write(self._server, _ANSWER.pack(_ANSWER.size + len(answer or b""), error, unique) + (answer or b""))

    def close(self) -> None:
        """Let all that wait get an error."""
        ctypes.CDLL(None, use_errno=True).umount2(bytes(self.path), _FORCE | _DETACH)
        self._thread.join(10)
        os.close(self._server)


@contextmanager
def unreadable_file(path: Path) -> Iterator[UnreadableFile]:
    """Mount the file for the length of a block. Skips the test where that cannot be."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    file = UnreadableFile(path)
    try:
        yield file
    finally:
        file.close()
