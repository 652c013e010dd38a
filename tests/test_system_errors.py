"""The one table from errors of the system to statuses."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from pagent.errors import DialError, MethodError
from pagent.system_errors import is_shortage, system_refusal

SHORTAGES = {
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "processes",
}


def at_an_agent(error: BaseException) -> MethodError:
    """The same error as a caller gets it over a link."""
    return MethodError(f"call 1 ('m') failed: {error}", type(error).__name__, str(error))


@pytest.mark.parametrize("number", SHORTAGES)
def test_a_shortage_is_503_and_says_when_to_ask_again(number: int) -> None:
    for error in (OSError(number, os.strerror(number), "a-name"), OSError(number, os.strerror(number))):
        for each in (error, at_an_agent(error)):
            refusal = system_refusal(each, place="the agent")
            assert refusal is not None
            assert (refusal.status, refusal.retry_after_s) == (503, 2)
            words = f"the agent is short of {SHORTAGES[number]} ({os.strerror(number)}); ask again in 2 s"
            assert str(refusal) == words
            assert is_shortage(each)


def test_no_memory_for_an_object() -> None:
    for error in (MemoryError(), at_an_agent(MemoryError())):
        refusal = system_refusal(error, place="the router")
        assert refusal is not None
        assert (refusal.status, refusal.retry_after_s) == (503, 2)
        assert "the router is short of memory" in str(refusal)


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EROFS, 403), (errno.EIO, 500), (errno.E2BIG, 400)],
)
def test_other_numbers_have_the_words_of_the_system(number: int, status: int) -> None:
    error = OSError(number, os.strerror(number), "a-name")
    for each in (error, at_an_agent(error)):
        refusal = system_refusal(each, place="the agent")
        assert refusal is not None
        assert (refusal.status, refusal.retry_after_s, str(refusal)) == (status, None, str(error))
        assert not is_shortage(each)


def test_an_error_that_another_has_caused() -> None:
    error = DialError("host:1: Too many open files")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    refusal = system_refusal(error, place="the router")
    assert refusal is not None
    assert refusal.status == 503


@pytest.mark.parametrize(
    "error",
    [
        ValueError("[Errno 24] in a text of this process"),
        MethodError("call 1 ('m') failed", "ValueError", "not [Errno 24] at the start"),
        MethodError("call 1 ('m') failed", None, None),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        OSError("without a number"),
        ssl.SSLError(errno.EIO, "the numbers of OpenSSL are its own"),
        socket.gaierror(errno.ENOEXEC, "and so are those of a resolver"),
    ],
)
def test_errors_that_are_not_in_the_table(error: Exception) -> None:
    assert system_refusal(error, place="the agent") is None
    assert not is_shortage(error)
