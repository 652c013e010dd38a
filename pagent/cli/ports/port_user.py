"""Name the program that listens on a local port, for messages."""

from __future__ import annotations

import os
from contextlib import suppress

from pagent.jobs.sockets import holds, listeners


def port_user(port: int) -> str:
    """Return `` by NAME (pid N)`` for the program that listens on a port, empty if the system does not tell."""
    with suppress(OSError):
        if not (found := listeners(port)):
            return ""
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdecimal() and holds(int(name), found):
                    return f" by {_name_of(name)} (pid {name})"
    return ""


def _name_of(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
