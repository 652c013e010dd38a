"""The processes of one test: those that have its mark among their arguments."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import PurePath

import psutil


class Marked:
    """``options``: of an agent, which carry the mark."""

    def __init__(self) -> None:
        self._mark = f"test={secrets.token_hex(8)}"
        self.options = ("--property", self._mark)

    def running(self, program: str) -> list[psutil.Process]:
        """Return the processes of a program, whose name begins so."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it has ended
                command = process.cmdline()
                if self._mark in command and PurePath(command[0]).name.startswith(program):
                    found.append(process)
        return found

    def agents(self) -> list[psutil.Process]:
        """Return the agents."""
        return self.running("python")
