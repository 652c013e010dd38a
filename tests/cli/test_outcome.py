from __future__ import annotations

from typing import Any

import pytest

from pagent.cli.outcome import brief_end, describe_end, exit_code, reason

CLIENT = {"direction": "SERVER", "uid": "c1", "name": "night shift"}
ENDED: dict[str, Any] = {"exit_code": None, "signal": None, "error": None, "removed_by": None, "killed_by": None}


@pytest.mark.parametrize(
    ("code", "signal", "text", "expected"),
    [
        (None, None, "", 0),
        (0, None, "with exit code 0", 0),
        (7, None, "with exit code 7", 7),
        (None, "SIGTERM", "by SIGTERM", 143),
        (None, "SIGRTMIN+1", "by SIGRTMIN+1", 163),
    ],
)
def test_the_end_of_a_process(code: int | None, signal: str | None, text: str, expected: int) -> None:
    info = {"exit_code": code, "signal": signal}
    assert (describe_end(info), exit_code(info)) == (text, expected)


@pytest.mark.parametrize(
    ("info", "brief", "words"),
    [
        ({}, "", ""),
        ({"exit_code": 0}, "exit 0", "by itself, with success"),
        ({"exit_code": 3}, "exit 3", "with a failure: its output says why"),
        ({"exit_code": 3, "stderr": b""}, "exit 3", "its standard error is empty"),
        ({"exit_code": 127}, "exit 127", "a command that is not found"),
        ({"exit_code": 137}, "exit 137", "a command that signal 9 has ended"),
        ({"signal": "SIGSEGV"}, "SIGSEGV", "the program crashed"),
        ({"signal": "SIGXCPU"}, "SIGXCPU", "limit of CPU time"),
        ({"signal": "SIGKILL"}, "SIGKILL", "because memory"),
        ({"signal": "SIGTERM"}, "SIGTERM", "on the agent's host sent it this signal"),
        ({"signal": "SIGUSR1"}, "SIGUSR1", "or a client (pagent kill -s)"),
        ({"signal": "SIGKILL", "killed_by": CLIENT}, "SIGKILL", "killed by the client or router 'night shift'"),
        ({"exit_code": 5, "killed_by": CLIENT}, "exit 5", "killed by the client or router 'night shift'"),
        (
            {"signal": "SIGTERM", "killed_by": CLIENT, "removed_by": CLIENT},
            "SIGTERM",
            "removed by the client or router",
        ),
        ({"signal": "SIGTERM", "error": "idle"}, "idle", "not used for its idle time"),
        ({"signal": "SIGTERM", "error": "the process was ended after its time limit of 3 s"}, "SIGTERM", "time limit"),
        ({"error": "[Errno 2] No such file or directory: 'x'"}, "failed", "it could not be started: [Errno 2] No such"),
    ],
)
def test_why_a_job_has_ended(info: dict[str, Any], brief: str, words: str) -> None:
    assert brief_end(ENDED | info) == brief
    assert words in reason(ENDED | info)
    assert bool(words) == bool(reason(ENDED | info))


def test_an_agent_that_does_not_name_clients_does_not_rule_them_out() -> None:
    info = {"exit_code": None, "signal": "SIGKILL", "error": None}
    assert reason(info).endswith("or a client (pagent kill -s)")
