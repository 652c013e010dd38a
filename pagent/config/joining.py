"""The join data of an agent that was started for a router (docs/contract.rst, "Joining").

The router writes it to the standard input of the command that starts the agent, and ``pagent serve --join`` reads it.
No error quotes a value, because one of them is a token.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from pagent.config.model import ControlSettings, DialledRouter, ServerSettings, Settings
from pagent.errors import ConfigError
from pagent.limits import JOIN_DATA_MAX

#: Set by Slurm for each process of an allocation: its end, in epoch seconds.
SLURM_END: Final = "SLURM_JOB_END_TIME"
#: Seconds before its deadline from which an agent takes no new jobs, and at which its jobs get TERM.
CORDON_S: Final = 120.0
WARN_S: Final = 30.0

_TEXTS: Final = ("token", "uid")


@dataclass(frozen=True, kw_only=True)
class JoinData:
    """``idle_s``: seconds without jobs after which the agent ends. ``deadline``: epoch seconds; None for none."""

    addresses: tuple[str, ...]
    token: str = field(repr=False)
    uid: str
    properties: Mapping[str, str] = field(default_factory=dict)
    idle_s: float
    deadline: float | None = None

    def encode(self) -> bytes:
        """Return the line for the standard input of an agent."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    def settings(self, base: Settings) -> Settings:
        """Return the settings of the agent: it dials the routers, and listens for the reports of jobs alone.

        Other users of the machine could use the control API: it is on the loopback of a node that users share.
        """
        routers = tuple(map(DialledRouter, self.addresses))
        client = dataclasses.replace(
            base.client, enabled=True, address=routers, token=self.token, token_file=None, exit_on_fail=False
        )
        return dataclasses.replace(
            base,
            identity=dataclasses.replace(base.identity, uid=self.uid),
            server=ServerSettings(enabled=False),
            control=ControlSettings(enabled=False),
            client=client,
            properties={**base.properties, **self.properties},
        )

    def limited(self, environ: Mapping[str, str]) -> JoinData:
        """Return the data with the deadline of a Slurm allocation, if that is earlier."""
        text = environ.get(SLURM_END, "")
        if not (text.isascii() and text.isdigit() and int(text)):
            return self
        ends = float(text)
        return dataclasses.replace(self, deadline=ends if self.deadline is None else min(ends, self.deadline))


def read_join_data(source: str, stdin: BinaryIO) -> JoinData:
    """Return the join data of a file, or of ``stdin`` if ``source`` is ``-``. ConfigError.

    Standard input is read up to the end of the JSON value: an engine may leave it open.
    """
    if source == "-":
        return _read_lines(stdin)
    try:
        with Path(source).open("rb") as file:
            return _read_lines(file)
    except OSError as error:
        raise ConfigError(f"--join: {source}: {error.strerror or error}") from None


def _read_lines(file: BinaryIO) -> JoinData:
    data = b""
    while line := file.readline(JOIN_DATA_MAX + 1):
        data += line
        if len(data) > JOIN_DATA_MAX:
            raise ConfigError(f"--join: longer than {JOIN_DATA_MAX} bytes")
        if line.rstrip().endswith(b"}"):
            try:
                return parse_join_data(json.loads(data))
            except (ValueError, RecursionError):
                continue  # the brace of an inner map
    raise ConfigError("--join: expected one JSON object")


def parse_join_data(value: Any) -> JoinData:
    """Return checked join data. ConfigError, which names the key."""
    if not isinstance(value, dict):
        raise ConfigError("--join: expected one JSON object")
    known = {each.name for each in dataclasses.fields(JoinData)}
    for name in value:
        if name not in known:
            raise ConfigError(f"--join: {name}: unknown key")
    addresses = value.get("addresses")
    if (
        not isinstance(addresses, list)
        or not addresses
        or not all(isinstance(each, str) and each for each in addresses)
    ):
        raise ConfigError("--join: addresses: must be a list of strings, with at least one")
    for name in _TEXTS:
        if not isinstance(value.get(name), str) or not value[name]:
            raise ConfigError(f"--join: {name}: must be a string that is not empty")
    properties = value.get("properties", {})
    if not isinstance(properties, dict) or not all(isinstance(each, str) for each in properties.values()):
        raise ConfigError("--join: properties: must be a map of strings")
    deadline = value.get("deadline")
    return JoinData(
        addresses=tuple(addresses),
        token=value["token"],
        uid=value["uid"],
        properties=properties,
        idle_s=_seconds("idle_s", value.get("idle_s")),
        deadline=None if deadline is None else _seconds("deadline", deadline),
    )


def _seconds(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"--join: {name}: must be a number of seconds")
    return float(value)
