"""The command that cancels an engine's own job of a request whose command was killed.

``srun`` that is killed leaves its job in the queue, and a job that runs keeps its node: only ``scancel`` ends both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from pagent.config.router import PoolSettings
from pagent.relay.pools.command import RID

_SLURM: Final = ("srun", "salloc", "sbatch")
_LONG: Final = "--job-name"
_SHORT: Final = "-J"


def with_cleanup(pool: PoolSettings) -> PoolSettings:
    """Return a pool with ``scancel`` as its cleanup, if it has none and its command is one of Slurm with a name."""
    return pool if pool.cleanup else dataclasses.replace(pool, cleanup=tuple(slurm_cleanup(pool.command)))


def slurm_cleanup(command: Sequence[str]) -> list[str]:
    """Return the command that cancels the job of a command of Slurm; nothing if its name is not that of one request.

    Words before ``srun``, such as ``env`` or ``ssh``, are put before ``scancel`` as well.
    """
    index = next((index for index, part in enumerate(command) if PurePosixPath(part).name in _SLURM), None)
    if index is None:
        return []
    name = _job_name(command[index + 1 :])
    if name is None or f"{{{RID}}}" not in name:
        return []
    scancel = str(PurePosixPath(command[index]).with_name("scancel"))
    return [*command[:index], scancel, "--quiet", f"--name={name}"]


def _job_name(options: Sequence[str]) -> str | None:
    for option, following in zip(options, [*options[1:], ""], strict=True):
        if option in (_LONG, _SHORT):
            return following
        if option.startswith(f"{_LONG}="):
            return option.removeprefix(f"{_LONG}=")
        if option.startswith(_SHORT):
            return option.removeprefix(_SHORT)
    return None
