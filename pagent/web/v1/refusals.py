"""How failures of operations on files are answered, and operations that agents of the field do not have."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pagent.errors import MethodError, RequestRefusedError
from pagent.web.failures import words_of
from pagent.web.routes import RoutedAgent

#: By the name of the error at the agent.
_STATUSES: Final[Mapping[str, int]] = {
    "FileNotFoundError": 404,
    "FileChangedError": 412,
    "FileDigestError": 422,
    "FileOffsetError": 409,
    "FileExistsError": 409,
    "IsADirectoryError": 409,
    "NotADirectoryError": 409,
    "PermissionError": 403,
    "StuckError": 504,
}
#: By the number of an OSError that has no name of its own.
_NUMBERS: Final[Mapping[int, int]] = {
    errno.ENAMETOOLONG: 400,
    errno.EROFS: 403,
    errno.EBUSY: 409,
    errno.ELOOP: 409,
    errno.ENOTEMPTY: 409,
    errno.EXDEV: 409,
    errno.EFBIG: 413,
    errno.EDQUOT: 507,
    errno.ENOSPC: 507,
}
_is_numbered: Final = re.compile(r"\[Errno ([0-9]{1,4})\] (?s:.*)").fullmatch


@contextmanager
def refusals() -> Iterator[None]:
    """Raise RequestRefusedError for what an agent answers about files within the block."""
    try:
        yield
    except MethodError as error:
        words = words_of(error)
        status = _STATUSES.get(error.cause_type or "")
        if status is None and (numbered := _is_numbered(words)) is not None:
            status = _NUMBERS.get(int(numbered[1]))
        if status is None:
            raise
        raise RequestRefusedError(status, words) from None


def require_ours(agent: RoutedAgent, operation: str) -> None:
    """RequestRefusedError 501 for an agent of the field, which does not have the operation."""
    if not agent.is_ours:
        raise RequestRefusedError(501, f"the agent of this job is of another release, which does not have: {operation}")
