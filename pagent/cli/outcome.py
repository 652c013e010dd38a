"""How a process of a job ended, and why, from the info of the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pagent.job_states import CLOSED, UNREACHABLE
from pagent.jobs.signames import signal_number

#: Shells return this plus the number of the signal for a program that a signal ended.
_SIGNALLED: Final = 128
#: The error of a job that was not used for its idle time.
_IDLE: Final = "idle"

_CRASH: Final = "the program crashed: this is a fault of the program, or of a library that it uses"
#: The meaning of a signal that no client has sent.
_SIGNALS: Final[Mapping[str, str]] = {
    "SIGABRT": "the program ended itself after a fault that it had found (abort)",
    "SIGBUS": f"{_CRASH}, or a file that it had mapped became shorter, or the disk is full",
    "SIGFPE": _CRASH,
    "SIGILL": _CRASH,
    "SIGKILL": (
        "killed, and not through the agent: if no user of the host did it, the kernel did, because memory, the limit"
        " of a cgroup, or jobs.isolation.max_cpu_seconds was used up (dmesg on the agent's host)"
    ),
    "SIGPIPE": "the program wrote to a pipe or a connection that the other end had closed",
    "SIGSEGV": _CRASH,
    "SIGSYS": _CRASH,
    "SIGTRAP": _CRASH,
    "SIGXCPU": "its limit of CPU time was used up (jobs.isolation.max_cpu_seconds, or a limit of the host)",
    "SIGXFSZ": "a file of it became larger than a limit of the host allows",
}
#: The signals that end a job, if a client asks the agent to send them: the info then names the client.
_OF_CLIENTS: Final = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL")
_OUTSIDE: Final = "a program on the agent's host sent it this signal, and no client did: an operator, or the host's end"
_ANY_SIGNAL: Final = "it got this signal: from a program on the agent's host, or a client (pagent kill -s)"

#: The meaning of exit codes by the convention of shells.
_CODES: Final[Mapping[int, str]] = {
    0: "the program ended by itself, with success",
    126: "the program ended by itself; shells return 126 for a command that cannot be executed",
    127: "the program ended by itself; shells return 127 for a command that is not found",
}
_FAILED: Final = "the program ended by itself, with a failure: its output says why (pagent logs)"
_SILENT: Final = (
    f"{_FAILED}; its standard error is empty, as it is if the disk of the agent's host is full (pagent agents --json)"
)


_AWAY: Final = (
    "not known: its agent has no link to the router; the network, the agent's host, or the agent with all of its jobs"
    " has ended (pagent agents)"
)


def describe_end(info: dict[str, Any]) -> str:
    """Return ``by SIGNAL`` or ``with exit code N``, empty if the process has not ended."""
    if info["signal"] is not None:
        return f"by {info['signal']}"
    return "" if info["exit_code"] is None else f"with exit code {info['exit_code']}"


def brief_end(info: dict[str, Any]) -> str:
    """Return in a word or two how a job has ended, empty if it has not: ``exit 3``, ``SIGKILL``, ``idle``."""
    if info.get("error") == _IDLE:
        return _IDLE
    if info.get("signal"):
        return str(info["signal"])
    if info.get("exit_code") is not None:
        return f"exit {info['exit_code']}"
    return "failed" if info.get("error") else ""


def reason(info: dict[str, Any]) -> str:
    """Return in words why a job has ended, or is unreachable; empty for another job."""
    if info.get("state") == UNREACHABLE:
        return _AWAY
    if info.get("error") == _IDLE:
        return "the agent ended it, because it was not used for its idle time (--idle-after)"
    if info.get("error"):
        has_errno = str(info["error"]).startswith("[Errno")
        return f"it could not be started: {info['error']}" if has_errno else str(info["error"])
    if info.get("killed_by"):
        how = "removed" if info.get("removed_by") == info["killed_by"] else "killed"
        return f"{how} by the client or router {_name(info['killed_by'])!r} while it ran (as by pagent kill)"
    if info.get("signal"):
        return _reason_of_signal(info["signal"], knows_clients="killed_by" in info)
    code = info.get("exit_code")
    if code is None:
        return ""
    if code > _SIGNALLED:
        return f"{_FAILED}; shells return {code} for a command that signal {code - _SIGNALLED} has ended"
    return _CODES.get(code, _SILENT if info.get("stderr") == b"" else _FAILED)


def _reason_of_signal(signal: str, *, knows_clients: bool) -> str:
    """Return the meaning of a signal. ``knows_clients``: no client has asked for one that ends a job."""
    if signal in _OF_CLIENTS and not knows_clients:
        return _ANY_SIGNAL
    return _SIGNALS.get(signal, _OUTSIDE if signal in _OF_CLIENTS else _ANY_SIGNAL)


def _name(peer: Mapping[str, Any]) -> str:
    return str(peer.get("name") or peer.get("uid"))


def exit_code(info: dict[str, Any]) -> int:
    """Return the exit code that a shell would return for the process."""
    if info["signal"] is not None:
        return _SIGNALLED + signal_number(info["signal"])
    if info["exit_code"] is None:  # it got no agent, or was removed before its start
        return int(bool(info.get("error")) or info.get("state") == CLOSED)
    return int(info["exit_code"])
