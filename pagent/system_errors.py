"""Map what the operating system refuses to the HTTP status of an answer: the one table for agents and routers.

A shortage (no descriptor, no memory, no process) passes: the answer is 503 with ``Retry-After``, and the same request
may be made again. A full disk is 507. The table has no number that Python gives a class of its own, such as
FileNotFoundError: what those mean depends on the operation.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pagent.errors import MethodError, RequestRefusedError

#: Seconds after which a client may ask again after a shortage.
SHORTAGE_RETRY_S: Final = 2

#: The errors of this process that may be in the table.
SYSTEM_ERRORS: Final = (OSError, MemoryError)

_SHORTAGE: Final = 503
#: What is short, by the number of the error. EAGAIN is that of fork(2) and of a thread that cannot be started.
_SHORT_OF: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.EMFILE: "file descriptors",
        errno.ENFILE: "file descriptors",
        errno.ENOMEM: "memory",
        errno.ENOBUFS: "memory",
        errno.EAGAIN: "processes",
        errno.EADDRNOTAVAIL: "local ports",
    }
)
_STATUSES: Final[Mapping[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(_SHORT_OF, _SHORTAGE),
        errno.E2BIG: 400,
        errno.ENAMETOOLONG: 400,
        errno.ENOEXEC: 400,
        errno.EROFS: 403,
        errno.EBUSY: 409,
        errno.ELOOP: 409,
        errno.ENOTEMPTY: 409,
        errno.ETXTBSY: 409,
        errno.EXDEV: 409,
        errno.EFBIG: 413,
        errno.EIO: 500,
        errno.EDQUOT: 507,
        errno.ENOSPC: 507,
    }
)
_numbered: Final = re.compile(r"\[Errno ([0-9]{1,4})\] ").match


def is_shortage(error: BaseException) -> bool:
    """Return whether an error of this process says that descriptors, memory, processes or ports are short."""
    return _number_of(error) in _SHORT_OF


def system_refusal(error: BaseException, *, place: str) -> RequestRefusedError | None:
    """Return the answer to a request that has failed with ``error``; None if it is no error of the system.

    ``error`` is one of this process, one that has it as its cause, or the MethodError of a method that has failed with
    it at an agent. ``place`` says where: "the agent", "the router".
    """
    number = _number_of(error)
    status = _STATUSES.get(number) if number is not None else None
    if number is None or status is None:
        return None
    if status != _SHORTAGE:
        return RequestRefusedError(status, _words_of(error))
    words = f"{place} is short of {_SHORT_OF[number]} ({os.strerror(number)}); ask again in {SHORTAGE_RETRY_S} s"
    return RequestRefusedError(status, words, retry_after_s=SHORTAGE_RETRY_S)


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, MethodError):
        if error.cause_type == MemoryError.__name__:
            return errno.ENOMEM
        numbered = _numbered(_words_of(error))
        return int(numbered[1]) if numbered is not None else None
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, (ssl.SSLError, socket.gaierror)):  # their numbers are not those of the system
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return None if error.__cause__ is None else _number_of(error.__cause__)


def _words_of(error: BaseException) -> str:
    return error.cause_message or str(error) if isinstance(error, MethodError) else str(error)
