"""Complete arguments in a shell: saved contexts and their addresses.

A completion is silent: words that cannot be found are left out. A shell puts a completion into the command line
unchanged, and jobs are named by other people: only names without a meaning for a shell are offered.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from pagent.log import escape

if TYPE_CHECKING:
    from pagent.config.contexts import SavedContext

T = TypeVar("T")

#: The variable that a shell sets when it asks for completions; click reads it.
VARIABLE: Final = "_PAGENT_COMPLETE"
_SAFE: Final = re.compile(r"[A-Za-z0-9_.@+%=/][A-Za-z0-9_.@+%=/-]*")


def complete(command: click.Command) -> NoReturn:
    """Answer the shell that has set VARIABLE, and end the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = 1
    try:
        command(prog_name="pagent")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001 - the shell would print it into the command line
        code = 1
    sys.stdout.flush()
    os._exit(code)  # a thread may still wait for an agent


def context_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a saved context."""
    found = [(name, saved) for name, saved in _contexts() if name.startswith(incomplete) and is_safe(name)]
    return [CompletionItem(name, help=escape(saved.address)) for name, saved in found]


def addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete an address: those of the saved contexts."""
    found = [(name, saved.address) for name, saved in _contexts() if saved.address.startswith(incomplete)]
    return [CompletionItem(address, help=escape(name)) for name, address in found]


def is_safe(value: str) -> bool:
    """Return whether a value has no meaning for a shell."""
    return bool(_SAFE.fullmatch(value))


def _contexts() -> list[tuple[str, SavedContext]]:
    from pagent.config.contexts import saved_contexts

    return or_otherwise(lambda: list(saved_contexts().by_name.items()), [])


def or_otherwise(function: Callable[[], T], otherwise: T) -> T:
    """Return the result of a function, ``otherwise`` if it fails."""
    try:
        return function()
    except Exception:  # noqa: BLE001 - a file that cannot be read has no completions
        return otherwise
