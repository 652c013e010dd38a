"""Completions in real shells, of jobs of an agent and of a router."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, command, outcome_of
from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess, slow_at_a_router

SHELLS = ("bash", "zsh", "fish")

#: Completes a line in each shell, and prints the completions one a line.
ASK = {
    "bash": 'source <(pagent completion bash); COMP_WORDS=($LINE "$LAST"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));'
    ' _pagent_completion pagent 2> /dev/null; printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": 'pagent completion fish | source; complete -C "$LINE $LAST" | string replace -r "\\t.*" ""; true',
}


class Shell:
    """Completes command lines in a shell, with ``pagent`` in PATH, and with contexts in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        program = folder / "bin/pagent"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pagent "$@"\n')
        program.chmod(0o755)
        self.environment = environment(folder) | {
            "PATH": f"{program.parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(folder / "config"),
            "HOME": str(folder), "TERM": "dumb",
        }  # fmt: skip
        self.environment.pop("PAGENT_CONTEXT", None)

    def finds(self, *line: str) -> list[str]:
        """Return the completions of the last word, of jobs: a slow machine has none in time, and is asked again."""
        return next(filter(None, (self.complete(*line) for _ in range(8))), [])

    def complete(self, *line: str) -> list[str]:
        """Return the completions of the last word."""
        *words, last = line
        done = subprocess.run(
            [self._name, "-c", ASK[self._name]],
            env=self.environment | {"LINE": " ".join(["pagent", *words]), "LAST": last},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()


@pytest.fixture(params=["bash", pytest.param("fish", marks=pytest.mark.slow)])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return Shell(request.param, tmp_path)


@pytest.fixture
def pagent(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return command(place, tmp_path, capfd)


@pytest.fixture
def job(pagent: Callable[..., Outcome]) -> Iterator[str]:
    """A job with a name, and one whose name would do harm in a shell."""
    uids = [
        pagent("start", "--name", name, "--", "sleep", "1000").stdout.strip() for name in ("notebook", "$(touch x)")
    ]
    yield uids[1]
    pagent("rm", *uids)


@slow_at_a_router
def test_jobs_and_contexts(
    place: RemoteProcess, job: str, shell: Shell, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CONFIG_HOME", shell.environment["XDG_CONFIG_HOME"])
    _, address, *token = place.options
    assert outcome_of(capfd, tmp_path, ["context", "add", "laboratory", address, *token]).code == 0
    assert shell.finds("info", "note") == ["notebook"]
    assert shell.finds("rm", "-f", job[:6]) == [job[:12]]
    assert sorted(shell.finds("exec", "-it", "")) == sorted(["notebook", job[:12]])
    assert shell.finds("cp", "note") == ["notebook:"]
    assert shell.complete("ps", "--context", "lab") == ["laboratory"]
    assert shell.complete("ps", "--agent", "127") == [address]
    assert shell.complete("context", "use", "") == ["laboratory"]
    assert "--since" in shell.complete("logs", "--")
    assert shell.complete("info", "--agent", "127.0.0.1:1", "note") == []


def test_commands_and_options_need_no_agent(shell: Shell) -> None:
    assert shell.complete("comple") == ["completion"]
    assert shell.complete("help", "port-t") == ["port-taken"]
    assert {"run", "ps", "cp", "agents"} <= set(shell.complete(""))
    assert shell.complete("completion", "") == ["bash", "zsh", "fish"] or shell.complete("completion", "f") == ["fish"]
    assert "--config" in shell.complete("serve", "--con")
    assert shell.complete("info", "note") == []
    assert shell.complete("nonsense", "x") == []


def test_an_agent_that_does_not_answer(tmp_path: Path) -> None:
    """A completion of an agent that does not answer ends soon, and says nothing."""
    shell = Shell("bash", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = ["pagent", "info", "--agent", f"127.0.0.1:{silent.getsockname()[1]}", "x"]
        env = shell.environment | {
            "_PAGENT_COMPLETE": "bash_complete", "COMP_WORDS": "\n".join(words), "COMP_CWORD": "4", "PAGENT_TOKEN": "t",
        }  # fmt: skip
        done = subprocess.run(["pagent"], env=env, capture_output=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")


@pytest.mark.parametrize("name", SHELLS)
def test_the_scripts(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    code, stdout, stderr = outcome_of(capfd, tmp_path, ["completion", name])
    assert (code, stderr) == (0, "")
    assert "_PAGENT_COMPLETE" in stdout
    if shutil.which(name) is not None:
        subprocess.run([name, "-n"], input=stdout, text=True, timeout=PATIENCE_S, check=True)
    assert outcome_of(capfd, tmp_path, ["completion", "powershell"]).code == 2
