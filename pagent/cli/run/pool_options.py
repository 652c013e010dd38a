"""The options of commands whose job gets an agent of a pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import click

#: Parameters that many pools have, with an option of their own.
_COMMON: Final = (
    ("cpus", "N", "CPUs of the agent."),
    ("memory", "SIZE", "Memory of the agent."),
    ("time", "TIME", "Time limit of the agent."),
    ("partition", "NAME", "Partition or queue of the agent."),
)

_OPTIONS: Final = (
    click.option("--pool", metavar="NAME", help="Run COMMAND on an agent that a pool of the router starts for it."),
    *(
        click.option(f"--{name}", metavar=metavar, help=f"With --pool: {text} The same as --param {name}={metavar}.")
        for name, metavar, text in _COMMON
    ),
    click.option(
        "--param", "params", multiple=True, metavar="NAME=VALUE", help="With --pool: a parameter. Can be repeated."
    ),
)


@dataclass(frozen=True)
class PoolChoice:
    """A pool, and the parameters of its command."""

    name: str
    parameters: Mapping[str, str]

    def given(self) -> dict[str, str]:
        """Return the argument ``pool`` of job_create."""
        return {**self.parameters, "pool": self.name}


def pool_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``pool: PoolChoice | None``."""

    @wraps(function)
    def wrapper(pool: str | None, params: tuple[str, ...], **values: Any) -> Any:
        given = {name: value for name, _, _ in _COMMON if (value := values.pop(name)) is not None}
        return function(pool=_choice(pool, given, params), **values)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def _choice(pool: str | None, given: dict[str, str], params: tuple[str, ...]) -> PoolChoice | None:
    """click.UsageError."""
    for text in params:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--param {text}: expected NAME=VALUE")
        if name == "pool" or name in given:
            raise click.UsageError(f"--param {text}: {name} is given twice")
        given[name] = value
    if pool is not None:
        return PoolChoice(pool, given)
    if given:
        raise click.UsageError(f"{', '.join(given)}: a parameter needs --pool")
    return None
