"""The options of ``pagent run``, and which of them exclude each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from pagent.cli.job_options import EXISTING_FOLDER, publish_options, terminal_options, wait_option
from pagent.cli.ports.publish import Publish
from pagent.cli.run.environment import environment_options
from pagent.cli.run.pool_options import PoolChoice, pool_options
from pagent.cli.target import Target, optional_target_options

_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options as they are given. ``target``: the agent or router; None for an agent in this process."""

    target: Target | None
    pool: PoolChoice | None
    publishes: tuple[Publish, ...]
    environment: dict[str, str]
    name: str
    interactive: bool
    tty: bool
    browser: bool
    detach: bool
    port: int | None
    folder: str | None
    sandbox: bool
    upload: Path | None
    keep: Path | None
    ready_timeout: float

    def check(self) -> None:
        """Refuse options that exclude each other. click.UsageError."""
        if self.sandbox and self.folder is not None:
            raise click.UsageError("--sandbox and --dir cannot be used together: a sandbox is a new folder")
        for name in self._with_files():
            if self.target is None and not self.sandbox:
                text = "otherwise the command runs in the current folder, and its files stay there"
                raise click.UsageError(f"{name} requires --agent or --sandbox: {text}")
            if self.target is not None and self.folder is not None and os.path.isabs(self.folder):
                text = f"{name} works on the job's own folder"
                raise click.UsageError(f"{name} and --dir {self.folder} cannot be used together: {text}")
        if self.detach and (attached := self._of_this_process()):
            raise click.UsageError(f"-d and {attached} cannot be used together: this command ends before the job does")

    def _with_files(self) -> Iterator[str]:
        if self.upload is not None:
            yield "--upload"
        if self.keep is not None:
            yield "--keep"

    def _of_this_process(self) -> str | None:
        """Return an option that works only as long as the command runs."""
        given = {
            "-i": self.interactive,
            "-t": self.tty,
            "-p": self.publishes,
            "--browser": self.browser,
            "--keep": self.keep,
        }
        return next((name for name, value in given.items() if value), None)

    def local_folder(self) -> str | None:
        """Return the folder of this machine to run in, as an absolute path; None for a sandbox. click.UsageError."""
        if self.sandbox:
            return None
        try:
            path = os.getcwd() if self.folder is None else os.path.abspath(self.folder)
        except FileNotFoundError:
            raise click.UsageError("the current folder does not exist; change to another one, or use --dir") from None
        if not os.path.isdir(path):
            raise click.UsageError(f"--dir: no such folder: {path}")
        return path


_OPTIONS: Final = (
    publish_options(
        ": a number, or the NAME of a {port:NAME}. Default: a port that stays the same for this command in this folder."
    ),
    environment_options,
    pool_options,
    click.option("--name", default="run", show_default=True, metavar="NAME", help="Name of the job."),
    terminal_options,
    click.option("--browser", is_flag=True, help="Open the URL in a browser once COMMAND listens."),
    click.option(
        "-d", "--detach", is_flag=True, help="With an agent: start COMMAND in the background, print the uid, and exit."
    ),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        metavar="N",
        help="The port that COMMAND listens on. Default: a free port, which COMMAND gets as {port} and in PORT.",
    ),
    click.option("--dir", "folder", metavar="PATH", help="Run COMMAND in this folder. Default: the current folder."),
    click.option("--sandbox", is_flag=True, help="Run COMMAND in a new folder, which is deleted at the end."),
    optional_target_options,
    click.option(
        "--upload",
        type=EXISTING_FOLDER,
        metavar="DIR",
        help="With --agent or --sandbox: upload DIR to the job before it starts.",
    ),
    click.option(
        "--keep",
        type=_FOLDER,
        metavar="DIR",
        help="With --agent or --sandbox: download the job's files to DIR at the end.",
    ),
    wait_option,
)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function is called with ``options: RunOptions``."""

    @wraps(function)
    def wrapper(command: tuple[str, ...], **values: Any) -> Any:
        return function(options=RunOptions(**values), command=command)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
