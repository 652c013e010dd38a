"""The work of ``pagent run`` as its options describe it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pagent.cli.ports.publish import PortPlan, plan_ports
from pagent.cli.run.joined_process import Joint
from pagent.cli.run.pool_options import PoolChoice
from pagent.cli.run.run_options import RunOptions
from pagent.cli.target import Target
from pagent.jobs.placeholders import names

#: Python buffers output into a pipe, and loses it when a signal ends the program. This makes it write at once.
_ENVIRONMENT: Final = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The arguments of ``pagent run``."""

    #: The remote agent; None for an agent in this process.
    target: Target | None
    #: The pool of the router that starts the agent.
    pool: PoolChoice | None
    plan: PortPlan
    ready_timeout: float
    command: list[str]
    environment: dict[str, str]
    name: str
    has_browser: bool
    joint: Joint
    #: Whether the job has ports: a program of a terminal has none unless the options or the command name one.
    has_ports: bool
    #: Where the command runs; None for a new folder, the sandbox of the job.
    folder: str | None
    upload: Path | None
    keep: Path | None

    @property
    def local_folder(self) -> str | None:
        """The folder, if it is one of this machine."""
        return self.folder if self.target is None else None

    @property
    def scripts_folder(self) -> str | None:
        """The folder of this machine that has the scripts of the command; None if they are on another host."""
        return self.local_folder if self.upload is None else str(self.upload)

    @property
    def is_sandboxed(self) -> bool:
        """Whether the folder is deleted with the job."""
        return self.folder is None or not os.path.isabs(self.folder)

    @property
    def host(self) -> str:
        """The host of the job, as messages name it."""
        return "this machine" if self.target is None else self.target.address


def run_request(options: RunOptions, command: Sequence[str]) -> RunRequest:
    """Return the request of a command. click.UsageError: its folder does not exist."""
    defaults = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    joint = Joint(has_input=options.interactive, has_terminal=options.tty)
    named = any(names(text) for text in command)
    return RunRequest(
        target=options.target,
        pool=options.pool,
        plan=plan_ports(options.publishes, options.port, command),
        ready_timeout=options.ready_timeout,
        command=list(command),
        environment=defaults | options.environment,
        name=options.name,
        has_browser=options.browser,
        joint=joint,
        has_ports=not joint.is_used or named or bool(options.publishes) or options.port is not None,
        folder=options.folder if options.target is not None else options.local_folder(),
        upload=options.upload,
        keep=options.keep,
    )
