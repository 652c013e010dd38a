"""The command of a pool: its parameters, and the arguments that they fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pagent.errors import ConfigError, RequestRefusedError

#: Filled by the router in each request.
RID: Final = "rid"

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_is_value: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}").fullmatch
_is_pool_name: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}").fullmatch


def parameters_of(*commands: Sequence[str]) -> tuple[str, ...]:
    """Return the parameters that commands have, without the id of the request."""
    found = dict.fromkeys(name for command in commands for part in command for name in _PLACEHOLDER.findall(part))
    return tuple(name for name in found if name != RID)


def check_parameters(names: Iterable[str], given: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of all parameters. RequestRefusedError 400 for one that is missing, unknown or invalid.

    A value cannot begin with a dash where an option could be meant: it fills an argument, and never adds one.
    """
    wanted = tuple(names)
    for name in given:
        if name not in wanted:
            raise RequestRefusedError(400, f"agent.{name!s:.100}: the pool has no such parameter")
    for name in wanted:
        if name not in given:
            raise RequestRefusedError(400, f"agent.{name}: is missing")
        if not isinstance(given[name], str) or _is_value(given[name]) is None:
            raise RequestRefusedError(400, f"agent.{name}: must be 1 to 64 letters, digits and . _ : -")
    return {name: str(given[name]) for name in wanted}


def filled(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the arguments of a command with its parameters. ValueError for a value that would become an option."""
    arguments = [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in command]
    for part, argument in zip(command, arguments, strict=True):
        if argument.startswith("-") and not part.startswith("-"):
            raise ValueError(f"{part}: must not begin with a dash")
    return arguments


def check_pool_name(name: str) -> None:
    """ConfigError if a pool cannot have this name."""
    if _is_pool_name(name) is None:
        raise ConfigError(f"pools.{name}: a name has at most 32 of a-z, 0-9 and -, and does not begin with a dash")
