"""Run commands of the command line in this process, each to its end."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pagent import cli
from tests.kit.commands import without_names
from tests.kit.descriptors import replaced
from tests.kit.remotes import RemoteProcess


class Outcome(NamedTuple):
    """How a command has ended."""

    code: int
    stdout: str
    stderr: str


def outcome_of(
    capfd: pytest.CaptureFixture[str], folder: Path, arguments: Sequence[str], stdin: str | None = None
) -> Outcome:
    """Run a command. ``stdin``: its standard input; None: that of the tests."""
    capfd.readouterr()
    with _process_state(), _standard_input(folder, stdin), pytest.raises(SystemExit) as ended:
        cli.pagent(arguments, prog_name="pagent")
    stdout, stderr = capfd.readouterr()
    code = ended.value.code
    return Outcome(0 if code is None else int(code), stdout, without_names(stderr))


def command(place: RemoteProcess, folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs a command which uses ``place``."""
    options = place.options

    def run(name: str, *arguments: str, stdin: str | None = None) -> Outcome:
        return outcome_of(capfd, folder, [name, *options, *arguments], stdin)

    return run


@contextmanager
def _process_state() -> Iterator[None]:
    """Undo what a command changes in its process, which usually ends with it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    root = logging.getLogger()
    logs, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for added in [each for each in root.handlers if each not in logs]:
            root.removeHandler(added)
            added.close()
        root.setLevel(level)
        gc.unfreeze()


@contextmanager
def _standard_input(folder: Path, text: str | None) -> Iterator[None]:
    if text is None:
        yield
        return
    file = folder / "input"
    file.write_text(text)
    with replaced(0, os.open(file, os.O_RDONLY)):
        yield
