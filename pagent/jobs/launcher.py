"""Confines itself and becomes a job's program: ``python -I -S launcher.py PLAN PROGRAM [ARGUMENT ...]``.

A program of its own, so that nothing of this runs in a forked child of the agent, which has threads. PLAN is JSON::

    {"cgroup": folder or null, "user": [uid, gid, [groups]] or null, "no_new_privs": bool, "limits": {"NOFILE": n, ...}}

It imports nothing of the package. What it cannot do it writes to stderr, and exits with 126, or 127 if there is no such
program, as a shell does.
"""

import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

_PR_SET_NO_NEW_PRIVS = 38


def _confine(plan: dict[str, Any]) -> None:
    # In this order: the later ones take away what the earlier ones need.
    if plan["cgroup"] is not None:
        with open(f"{plan['cgroup']}/cgroup.procs", "w") as file:
            file.write("0")
    if plan["no_new_privs"]:
        import ctypes  # slow to load; and the user may not be allowed to read it

        zero = ctypes.c_ulong(0)
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS is refused")
    if plan["user"] is not None:
        uid, gid, groups = plan["user"]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    for name, value in plan["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, value))


def _given_environment() -> dict[bytes, bytes]:
    """As it was handed to us: the interpreter may have added a locale of its own (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        items = file.read().split(b"\0")
    return dict(item.split(b"=", 1) for item in items if b"=" in item)


def main(plan: str, *command: str) -> NoReturn:
    """Confine this process, and become the command."""
    environment = _given_environment()
    # The interpreter ignores these; ignored signals stay so in what is executed.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        _confine(json.loads(plan))
    except OSError as error:
        _give_up(command[0], f"it cannot be confined: {error.strerror}", 126)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        _give_up(command[0], str(error.strerror), 127 if isinstance(error, FileNotFoundError) else 126)


def _give_up(program: str, reason: str, code: int) -> NoReturn:
    sys.stderr.write(f"pagent: {program} cannot be started: {reason}\n")
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
