"""How failures of operations on files are answered, and operations that agents of the field do not have."""

from __future__ import annotations

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
}


@contextmanager
def refusals() -> Iterator[None]:
    """Raise RequestRefusedError for errors about files with which an agent answers within the block."""
    try:
        yield
    except MethodError as error:
        status = _STATUSES.get(error.cause_type or "")
        if status is None:
            raise
        raise RequestRefusedError(status, words_of(error)) from None


def require_ours(agent: RoutedAgent, operation: str) -> None:
    """RequestRefusedError 501 for an agent of the field, which does not have the operation."""
    if not agent.is_ours:
        raise RequestRefusedError(501, f"the agent of this job is of another release, which does not have: {operation}")
