"""The descriptors of this process, which is the agent's too where a test runs an agent in its own loop.

Other tests, libraries and the garbage collector open and close descriptors at any time. So a test counts those of a
folder that nothing else uses, or looks for descriptors that were not open before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_files(folder: Path) -> list[str]:
    """Return the paths of open files and folders below a folder, one for each descriptor.

    The path of a file that has no name any more ends with `` (deleted)``.
    """
    return [path for path in targets().values() if path.startswith(f"{folder}/")]


def targets() -> dict[int, str]:
    """Return the target of each open descriptor: the path of a file, or the name of another object."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def left_open(before: dict[int, str]) -> dict[int, str]:
    """Return the descriptors that are open and were not, or led to something else, at an earlier :func:`targets`."""
    return {number: target for number, target in targets().items() if before.get(number) != target}


@contextmanager
def replaced(number: int, descriptor: int) -> Iterator[None]:
    """Let a standard stream, by its number, be another descriptor within the block; the other number is closed."""
    before = os.dup(number)
    os.dup2(descriptor, number)
    os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(before, number)
        os.close(before)
