"""Failures of a command: one line for the user, and an exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from pagent.cli.debug import print_traceback
from pagent.cli.explained import with_name
from pagent.cli.terminal.standard_streams import say
from pagent.errors import (
    CallError,
    CallTimeoutError,
    DialError,
    HandshakeRefusedError,
    LinkError,
    MethodError,
    MethodNotFoundError,
    NotUnicodeError,
    TokenRefusedError,
)
from pagent.log import escape

#: Exit codes (docs/commands.rst, "Exit codes").
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NO_SUCH: Final = 3
EXIT_NO_LINK: Final = 4
EXIT_NOT_ALLOWED: Final = 5
EXIT_TIMEOUT: Final = 124

_CODES: Final[Mapping[type[Exception], int]] = {
    TokenRefusedError: EXIT_NOT_ALLOWED,
    LinkError: EXIT_NO_LINK,
    CallTimeoutError: EXIT_TIMEOUT,
}
#: By the class of the error at the agent or the router.
_CODES_OF_METHODS: Final[Mapping[str, int]] = {
    "JobNotFoundError": EXIT_NO_SUCH,
    "FileNotFoundError": EXIT_NO_SUCH,
    "AccessDeniedError": EXIT_NOT_ALLOWED,
    "RouteError": EXIT_NO_LINK,
    "LinkClosedError": EXIT_NO_LINK,
}
_ADVICE: Final[Mapping[type[Exception], str]] = {
    TokenRefusedError: "use another token (--token-file, PAGENT_TOKEN, or that of a context)",
    HandshakeRefusedError: "is it the address of an agent's server, or of a router's control?",
    DialError: "is the address right, and does an agent or a router listen there?",
    MethodNotFoundError: "the agent is of an earlier release",
}

#: Exit codes of shells for a command that does not exist, and for one that cannot be executed.
_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126

#: An operation that takes longer than this is announced.
ANNOUNCE_AFTER_S: Final = 2.0


class CommandFailed(Exception):
    """The command ends. The text is the reason, ``code`` the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


#: Errors that a command reports in one line.
_FAILURES: Final = (CommandFailed, CallError, LinkError, NotUnicodeError, OSError)


def message_of(error: Exception) -> str:
    """Return the part of an error that a user can act on: for an error of a method, the text of the method."""
    text = (isinstance(error, MethodError) and error.cause_message) or str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else system_reason(error)
    advice = next((words for kind, words in _ADVICE.items() if isinstance(error, kind)), None)
    return f"{text}; {advice}" if advice is not None else text


def exit_code_for(error: Exception) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, MethodError):
        return _CODES_OF_METHODS.get(error.cause_type or "", EXIT_FAILED)
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), EXIT_FAILED)


async def exit_code_of(work: Coroutine[Any, Any, int]) -> int:
    """Return the exit code of the work. If it fails, print the reason and return the exit code of the failure."""
    try:
        return await work
    except BrokenPipeError:
        raise  # the reader of the output wants no more: the command ends without a message
    except _FAILURES as error:
        return report_failure(error)
    except ExceptionGroup as group:  # of tasks that have failed together
        if (failures := group.subgroup(_FAILURES)) is None or group.split(_FAILURES)[1] is not None:
            raise
        return report_failure(_first_of(failures))


def report_failure(error: Exception) -> int:
    """Print why a command, or a part of it, has failed; return the exit code for it. With --debug: the traceback."""
    print_traceback(error)
    say(escape(with_name(message_of(error))))
    return exit_code_for(error)


def _first_of(group: BaseExceptionGroup[Any]) -> Exception:
    first: Any = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


@asynccontextmanager
async def announce_if_slow(text: str) -> AsyncIterator[None]:
    """Print ``text`` if the block takes longer than `ANNOUNCE_AFTER_S`."""
    timer = asyncio.get_running_loop().call_later(ANNOUNCE_AFTER_S, say, text)
    try:
        yield
    finally:
        timer.cancel()


def system_reason(error: OSError) -> str:
    """Return the system's message without the address that event loops put before it."""
    return (error.strerror or str(error)).rpartition(": ")[2]


def start_failure(error: MethodError, program: str, folder: str | None) -> Exception:
    """Return the error of a failed start, with advice.

    :param folder: where the command was to run, if that is a folder of this machine.
    """
    if not program:
        return CommandFailed("the command is empty: its first word is ''", _NOT_FOUND)
    match error.cause_type:
        case "FileNotFoundError" | "NotADirectoryError":
            return CommandFailed(f"{program}: {_not_found(program, folder)}", _NOT_FOUND)
        case "PermissionError" | "OSError":
            text = _not_executable(message_of(error), program, folder)
            return CommandFailed(f"{program}: cannot be executed: {text}", _NOT_EXECUTABLE)
    return error


def _not_found(program: str, folder: str | None) -> str:
    if "/" not in program:
        if folder is not None and os.path.isfile(os.path.join(folder, program)):
            return (
                f"command not found; to run the file in {folder}, write ./{program}, or put its interpreter before it"
            )
        return "command not found; is it installed, and in PATH?"
    if folder is None:
        return (
            "no such file in the folder of the job, or no interpreter that its first line names; upload it with"
            " --upload DIR, or use an absolute path of the agent's host"
        )
    if os.path.exists(os.path.join(folder, program)):
        return "the interpreter that its first line names does not exist"
    return f"no such file in {folder}"


def _not_executable(text: str, program: str, folder: str | None) -> str:
    if "Text file busy" in text:
        return f"it is open for writing; close it first ({text})"
    if folder is None:
        is_denied = text.startswith("[Errno 13] Permission denied")
        return f"it is a folder, or has no x bit ({text})" if is_denied else text
    path = os.path.join(folder, program)
    if os.path.isdir(path):
        return "it is a folder"
    if os.path.isfile(path) and not os.access(path, os.X_OK):
        return f"permission denied; run chmod +x {program}, or put its interpreter before it"
    if "Exec format" in text:
        return f"it is not a program of this system and has no #! line; put its interpreter before it ({text})"
    return text
