"""The options ``-e`` and ``--env-file``: variables of the process that a command starts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

_VARIABLE: Final = re.compile(r"[^=\0]+")
#: The word before a variable in a file that a shell can read as well.
_EXPORT: Final = re.compile(r"\s*(?:export\s+)?")

_OPTIONS: Final = (
    click.option(
        "-e",
        "--env",
        "given",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a variable. NAME alone passes the variable of this process on. Can be repeated.",
    ),
    click.option(
        "--env-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of NAME=VALUE, one a line. Quotes are part of VALUE.",
    ),
)


def environment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``environment: dict[str, str]``."""

    @wraps(function)
    def wrapper(given: tuple[str, ...], env_file: Path | None, **values: Any) -> Any:
        return function(environment=variables(given, env_file), **values)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def variables(given: tuple[str, ...], file: Path | None) -> dict[str, str]:
    """Return the variables of a file, then those of options. click.UsageError.

    Lines of a file that are empty or begin with # are left out, and so is ``export`` at the beginning of a line.
    Without ``=``, a variable has the value that it has in the environment of this process, if there is one.
    """
    texts = [(f"-e {text}", text) for text in given]
    if file is not None:
        texts = [*_lines(file), *texts]
    return dict(_variable(place, text) for place, text in texts if "=" in text or text in os.environ)


def _lines(file: Path) -> list[tuple[str, str]]:
    """Return the lines that set a variable, each after its place in messages."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file in UTF-8"
        raise click.UsageError(f"--env-file: {file}: {reason}") from None
    return [
        _line(f"{file}, line {number}", line.removesuffix("\r"))
        for number, line in enumerate(text.split("\n"), 1)  # a value may have other characters that end a line
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _line(place: str, line: str) -> tuple[str, str]:
    """Return the place of a line, and its variable. Spaces around ``=`` are part of a name, as for docker: refused."""
    name, equals, value = _EXPORT.sub("", line, count=1).partition("=")
    if not equals:
        return place, name.rstrip()
    if any(map(str.isspace, name)):
        raise click.UsageError(f"{place}: expected NAME=VALUE, without a space before =")
    return place, f"{name}={value}"


def _variable(place: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not _VARIABLE.fullmatch(name) or "\0" in value:
        raise click.UsageError(f"{place}: expected NAME=VALUE")
    return name, value if equals else os.environ[name]
