"""How a process of a job ended, from the info of the job."""

from __future__ import annotations

from typing import Any, Final

from pagent.jobs.signames import signal_number

#: Shells return this plus the number of the signal for a program that a signal ended.
_SIGNALLED: Final = 128


def describe_end(info: dict[str, Any]) -> str:
    """Return ``by SIGNAL`` or ``with exit code N``, empty if the process has not ended."""
    if info["signal"] is not None:
        return f"by {info['signal']}"
    return "" if info["exit_code"] is None else f"with exit code {info['exit_code']}"


def exit_code(info: dict[str, Any]) -> int:
    """Return the exit code that a shell would return for the process."""
    if info["signal"] is not None:
        return _SIGNALLED + signal_number(info["signal"])
    if info["exit_code"] is None:
        return int(bool(info.get("error")))  # it got no agent
    return int(info["exit_code"])
