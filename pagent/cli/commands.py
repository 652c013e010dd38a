"""The table of commands: the group, the module and the line in ``pagent --help`` of each."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Final, NamedTuple


class CommandEntry(NamedTuple):
    """A command. Its module is imported when it is used, so that help texts are printed at once."""

    name: str
    module: str
    text: str


#: Groups in the order of ``pagent --help``. A text has at most 25 characters: two commands are in a line.
GROUPS: Final[dict[str, tuple[CommandEntry, ...]]] = {
    "Programs": (
        CommandEntry("run", "run.run", "Run in the foreground"),
        CommandEntry("start", "run.start", "Start in the background"),
        CommandEntry("exec", "run.exec", "Run a command in a job"),
        CommandEntry("forward", "ports.forward", "Forward ports to a job"),
        CommandEntry("cp", "copy.cp", "Copy to or from a job"),
        CommandEntry("open", "ports.open", "Open a job in a browser"),
    ),
    "Jobs": (
        CommandEntry("ps", "jobs.manage", "List jobs"),
        CommandEntry("info", "jobs.manage", "Print all about a job"),
        CommandEntry("logs", "jobs.logs", "Print output of a job"),
        CommandEntry("wait", "jobs.manage", "Wait for the end of jobs"),
        CommandEntry("kill", "jobs.manage", "End jobs, keep files"),
        CommandEntry("rm", "jobs.manage", "Remove jobs and files"),
        CommandEntry("adopt", "jobs.manage", "Take a job over"),
        CommandEntry("top", "jobs.top", "Watch what jobs use"),
    ),
    "Agents and routers": (
        CommandEntry("agents", "servers.agents", "List agents"),
        CommandEntry("serve", "servers.serve", "Run an agent (default)"),
        CommandEntry("route", "servers.route", "Run a router"),
        CommandEntry("token", "servers.token", "Edit tokens of a router"),
        CommandEntry("report", "servers.report", "Report a port from a job"),
    ),
    "Set-up": (
        CommandEntry("context", "setup.context", "Save addresses and tokens"),
        CommandEntry("config", "setup.config", "Check a configuration"),
        CommandEntry("doctor", "setup.doctor", "Check this host, a link"),
        CommandEntry("completion", "setup.completion", "Complete in a shell"),
        CommandEntry("help", "setup.about", "Explain a command"),
        CommandEntry("version", "setup.about", "Print the version"),
    ),
}

COMMANDS: Final[dict[str, CommandEntry]] = {entry.name: entry for entries in GROUPS.values() for entry in entries}

#: The names of these commands in other tools.
_OTHER_NAMES: Final = {
    "attach": "logs",
    "copy": "cp",
    "create": "start",
    "del": "rm",
    "delete": "rm",
    "describe": "info",
    "get": "ps",
    "inspect": "info",
    "jobs": "ps",
    "list": "ps",
    "log": "logs",
    "login": "context",
    "ls": "ps",
    "browse": "open",
    "port-forward": "forward",
    "remove": "rm",
    "router": "route",
    "rsync": "cp",
    "scp": "cp",
    "sh": "exec",
    "shell": "exec",
    "ssh": "exec",
    "status": "info",
    "stop": "kill",
}

#: Columns of the two halves of a line of ``pagent --help``, and of a name.
_HALF: Final = 38
_NAME: Final = 10
#: The width from which two commands are in a line.
_TWO: Final = 2 * _HALF + 1


def suggestion(word: str) -> str | None:
    """Return the command that an unknown word probably means."""
    close = difflib.get_close_matches(word.lower(), [*COMMANDS, *_OTHER_NAMES], n=1)
    return _OTHER_NAMES.get(close[0], close[0]) if close else None


def lines_of_help(width: int) -> Iterator[str]:
    """Yield the lines of ``pagent --help`` that list the commands, for a terminal of this width."""
    for title, entries in GROUPS.items():
        yield f"{title}:"
        cells = [f"  {entry.name:{_NAME}} {entry.text}" for entry in entries]
        if width < _TWO:
            yield from (cell[:width] for cell in cells)
            continue
        for left, right in zip(cells[::2], [*cells[1::2], ""], strict=False):
            yield f"{left:{_HALF}} {right}".rstrip()
