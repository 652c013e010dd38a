"""Where a job's output goes: two files in its sandbox, or the agent's own output."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Final

from pagent.jobs.sandbox import Sandbox

STDOUT: Final = ".pagent.stdout"
STDERR: Final = ".pagent.stderr"

#: Descriptors for stdout and stderr; None is the agent's own.
Output = tuple[int | None, int | None]


def open_output(sandbox: Sandbox, forward: bool, closing: ExitStack) -> Output:
    """Open the two files, empty, to be closed by ``closing``. OSError or ValueError as of ``Sandbox.open_output``.

    They are given to the process directly: its output never passes through the agent.
    """
    if forward:
        return None, None
    stdout = sandbox.open_output(STDOUT)
    closing.callback(os.close, stdout)
    stderr = sandbox.open_output(STDERR)
    closing.callback(os.close, stderr)
    return stdout, stderr
