"""Why a command ends: as one line for a person, and as its exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from pagent.cli.terminal import say
from pagent.errors import CallError, LinkError, MethodError

#: What shells return for a command that is not there, or that cannot be run.
_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126

#: So long nothing has to be said about what is going on.
PATIENCE_S: Final = 2.0


class Ended(Exception):
    """There is nothing more to do. Its text is the reason, ``code`` the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def text_of(error: Exception) -> str:
    """Return what a person wants to know of an error; of a method's, that is what the method said."""
    return (isinstance(error, MethodError) and error.cause_message) or str(error)


async def explained(work: Coroutine[Any, Any, int]) -> int:
    """Return the exit code of the work, or that of the error that ended it after saying what it was."""
    try:
        return await work
    except Ended as end:
        say(str(end))
        return end.code
    except (CallError, LinkError, OSError) as error:
        say(text_of(error))
        return 1


@asynccontextmanager
async def slow(text: str) -> AsyncIterator[None]:
    """Say what goes on if the block takes longer than one likes to wait without a word."""
    timer = asyncio.get_running_loop().call_later(PATIENCE_S, say, text)
    try:
        yield
    finally:
        timer.cancel()


def reason(error: OSError) -> str:
    """Return the system's words without the address that the event loops put in front of them."""
    return (error.strerror or str(error)).rpartition(": ")[2]


def not_started(error: MethodError, program: str, folder: str | None) -> Exception:
    """Return the error of a start with what to do about it. ``folder``: where it was to run, if that is here."""
    match error.cause_type:
        case "FileNotFoundError" | "NotADirectoryError":
            return Ended(f"{program}: {_not_found(program, folder)}", _NOT_FOUND)
        case "PermissionError" | "OSError":
            return Ended(f"{program}: cannot be run: {_not_runnable(text_of(error), program, folder)}", _NOT_RUNNABLE)
    return error


def _not_found(program: str, folder: str | None) -> str:
    if "/" not in program:
        if folder is not None and os.path.isfile(os.path.join(folder, program)):
            return f"command not found; for the file in {folder} say ./{program}, or the interpreter before it"
        return "command not found; is it installed, and in PATH?"
    if folder is None:
        return "no such file in the job's folder; --upload DIR brings one, an absolute path is one of the agent's host"
    if os.path.exists(os.path.join(folder, program)):
        return "the interpreter that its first line names is not found"
    return f"no such file in {folder}"


def _not_runnable(text: str, program: str, folder: str | None) -> str:
    if folder is None:
        return text
    path = os.path.join(folder, program)
    if os.path.isdir(path):
        return "it is a folder"
    if os.path.isfile(path) and not os.access(path, os.X_OK):
        return f"it is not executable; chmod +x {program}, or put its interpreter before it"
    if "Exec format" in text:
        return f"it is no program of this system and has no #! line; put its interpreter before it ({text})"
    return text
