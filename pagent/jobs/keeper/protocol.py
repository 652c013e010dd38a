"""Messages between the agent, the keeper and the supervisors.

On the keeper's socket the agent sends one byte and a descriptor for each supervisor that it needs. The keeper sends a
REPORT of kind EXITED, with a pid in the place of the run, for each child that it reaps and that is no supervisor.

On a supervisor's control socket the agent sends REQUESTs, each with DESCRIPTORS; the supervisor sends REPORTs. All are
of fixed size. The last descriptor is the end of a pipe. The child closes it by executing its program, or writes a
FAILURE to it. So the child itself reports its start to the agent, even if the supervisor is killed or stopped.

The plan of a request is in its first descriptor, in the format of ``marshal``::

    {"program": str, "args": [str, ...], "environment": {str: str}, "terminal": bool,
     "oom_extra": int, "cgroup": path or null, "user": [uid, gid, [groups]] or null,
     "no_new_privs": bool, "limits": {"NOFILE": [soft, hard], ...}}
"""

from __future__ import annotations

import array
import os
import socket
import struct

#: The number of a run, chosen by the agent; with descriptors of the plan, stdin, stdout, stderr, working folder, pipe.
REQUEST = struct.Struct("=I")
DESCRIPTORS = 6
#: Kind, number of the run, a number, a start time.
REPORT = struct.Struct("=BIiQ")

#: The error number of a start that failed, and its step.
FAILURE = struct.Struct("=ii")

# Kinds of reports, with the meaning of the number.
SUPERVISOR, FORKED, FAILED, EXITED, EMPTY = range(5)  # pid, pid, errno, status of waitpid(2), 0

# The step of a start that has failed. In a report of FAILED it has the place of the start time, and is FORK.
FORK, CONFINE, ENTER, EXECUTE = range(4)

_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


def receive(source: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return a message and its descriptors: at most ``most``, and fewer than were sent if none can be opened.

    Empty bytes are the end, also that of a sender that has not read all it was sent (ECONNRESET).
    """
    found = array.array("i")
    room = socket.CMSG_SPACE(most * found.itemsize)
    try:
        data, ancillary, _, _ = source.recvmsg(size, room, _CLOEXEC)
    except OSError:
        return b"", []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    if not _CLOEXEC:
        for descriptor in found:
            os.set_inheritable(descriptor, False)
    return data, found.tolist()


def send(agent: socket.socket, reports: bytes, flags: int = 0) -> bool:
    """Send reports; return False if the agent has ended. ``flags``: those of send(2)."""
    try:
        agent.send(reports, _NO_SIGNAL | flags)
    except OSError:
        return False
    return True
