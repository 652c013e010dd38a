"""The standard input of a job: ``job_start(stdin=...)``."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Final

from pagent.unix import O_CLOEXEC

#: fcntl(2), Linux: set the capacity of a pipe.
_F_SETPIPE_SZ: Final = 1031


def open_input(data: bytes | None) -> int:
    """Return a descriptor to read ``data`` and then the end of the file from; OSError if there can be none.

    It is a pipe, as programs expect that wait for their input, or a file where no pipe can hold all of the input.
    """
    if not data:
        return os.open(os.devnull, os.O_RDONLY | O_CLOEXEC)
    reading, writing = os.pipe()
    try:
        if _fill(writing, data):
            return reading
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    os.close(reading)
    return _file(data)


def _fill(pipe: int, data: bytes) -> bool:
    """Write all data to an empty pipe; return whether it fits."""
    os.set_blocking(pipe, False)
    written = _write(pipe, data)
    if written < len(data) and os.uname().sysname == "Linux":
        import fcntl

        with suppress(OSError):  # the user's pipes have their limit
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, len(data))
            written += _write(pipe, data[written:])
    return written == len(data)


def _write(pipe: int, data: bytes) -> int:
    try:
        return os.write(pipe, data)
    except BlockingIOError:
        return 0


def _file(data: bytes) -> int:
    """Return a descriptor of a file without a name that holds the data."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())
