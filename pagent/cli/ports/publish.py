"""Parse ``-p LOCAL`` and ``-p LOCAL:JOB``: local ports, and the ports of a job that they forward to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import click

from pagent.jobs.placeholders import MAIN, NAME, names

#: Range of the stable local ports. It is below the range that systems choose ephemeral ports from.
_FIRST: Final = 20_000
_COUNT: Final = 10_000
#: Ports that are tried before any free port is taken.
_TRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Publish:
    """One ``-p``. ``local``: 0 for any free port. ``job``: a number, a name, or None for the job's main port."""

    local: int
    job: int | str | None = None


def publishes_of(ctx: click.Context, param: click.Parameter, values: Iterable[str]) -> tuple[Publish, ...]:
    """Parse all values of the option ``-p`` (a callback of click). click.BadParameter, also for a LOCAL given twice."""
    publishes = tuple(map(parse_publish, values))
    chosen = [publish.local for publish in publishes if publish.local]
    for local in chosen:
        if chosen.count(local) > 1:
            raise click.BadParameter(f"local port {local} is given twice")
    return publishes


def parse_publish(text: str) -> Publish:
    """Parse ``LOCAL``, ``LOCAL:JOB`` or ``:JOB``. No LOCAL, or 0, is any free port. click.BadParameter."""
    local, colon, job = text.partition(":")
    if (local or not colon) and not _is_port(local, least=0):
        raise _wrong(text)
    number = int(local or "0")
    if not colon:
        return Publish(number)
    if _is_port(job, least=1):
        return Publish(number, int(job))
    if job.isdecimal() or not NAME.fullmatch(job):
        raise _wrong(text)
    return Publish(number, job)


def _is_port(text: str, least: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and least <= int(text) <= 65535


def _wrong(text: str) -> click.BadParameter:
    return click.BadParameter(
        f"{text!r} is not a valid port mapping: write LOCAL or LOCAL:JOB, with ports from 1 to 65535"
    )


@dataclass(frozen=True)
class PortPlan:
    """The ports of a job of ``pagent run``. ``published``: pairs of a local port and the name of the job's port."""

    #: The port that the command listens on; None: the agent chooses one.
    main: int | None
    more: dict[str, int | Literal["auto"]]
    published: tuple[tuple[int, str], ...]

    def fixed(self) -> set[int]:
        """Return the ports of the job that are known before it starts."""
        return {number for number in (self.main, *self.more.values()) if isinstance(number, int)}

    def number(self, name: str) -> int | None:
        """Return the port of the job if it is known before the start."""
        number = self.main if name == MAIN else self.more[name]
        return number if isinstance(number, int) else None


def plan_ports(publishes: Sequence[Publish], port: int | None, command: Sequence[str]) -> PortPlan:
    """Return the ports of a command.

    :param port: the port that the command listens on, from the option ``--port``. Without it, and without a ``-p`` for
        the main port, the first number of a JOB is the main port.
    """
    numbers = [publish.job for publish in publishes if isinstance(publish.job, int)]
    if port is None and numbers and all(publish.job is not None for publish in publishes):
        port = numbers[0]
    more: dict[str, int | Literal["auto"]] = {str(number): number for number in numbers if number != port}
    asked = [name for text in command for name in names(text)]
    asked += [publish.job for publish in publishes if isinstance(publish.job, str)]
    more.update((name, "auto") for name in asked if name != MAIN and name not in more)
    published = [(publish.local, _name_of(publish.job, port)) for publish in publishes]
    named = {name for _, name in published}
    published += [(0, name) for name in (*more, MAIN) if name not in named]
    return PortPlan(port, more, tuple(published))


def _name_of(job: int | str | None, main: int | None) -> str:
    return MAIN if job is None or job == main else str(job)


def stable_ports(folder: str, command: Iterable[str], name: str) -> Iterator[int]:
    """Yield local ports to try for a command in a folder: the same ones at each start, then 0 for any free port.

    Browsers keep cookies and logins by port, so a stable port keeps the user logged in.
    """
    seed = json.dumps([folder, *command, name]).encode()
    number = int.from_bytes(hashlib.sha256(seed).digest()[:8])
    for step in range(_TRIES):
        yield _FIRST + (number + step) % _COUNT
    yield 0
