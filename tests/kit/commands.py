"""``pagent run`` and ``pagent forward`` as processes, as a shell starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pagent as pagent_package
from tests.kit.peer import PATIENCE_S

ENDING = "pagent: shutting down; press Ctrl-C again to force\n"
URL = r"pagent: (https?://127\.0\.0\.1:\d+/|127\.0\.0\.1:\d+) forwards to the job; press Ctrl-C to stop"
#: The printed lines on each job, and on jobs whose command names no port.
INTRODUCTION = re.compile(r"pagent: job [0-9a-f]{32} runs (?:in|on) .*\n(?:pagent: the command has no \{port\}.*\n)?")


def without_names(stderr: str) -> str:
    """Return messages without the names of their explanations, which tests/cli/test_explained.py tests."""
    return re.sub(r" \(pagent help [a-z-]+\)$", "", stderr, flags=re.MULTILINE)


class Running:
    """``pagent`` as the leader of a new process group, as a shell starts it; ``address`` is the one that it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = ""

    def said(self, pattern: str) -> re.Match[str]:
        """The next line of stderr that has this in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without: {pattern}")

    @property
    def url(self) -> str:
        """The address as a URL, also of a program that is not known to speak HTTP."""
        return self.address if "://" in self.address else f"http://{self.address}/"

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def ctrl_c(self) -> None:
        """To the whole group, as a terminal does it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> tuple[int, str, str]:
        """Return the exit code, and the rest of stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, stdout, without_names(stderr)


def environment(tmp_path: Path) -> dict[str, str]:
    """The package is found from any folder."""
    package = str(Path(next(iter(pagent_package.__path__))).parent)
    return os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": package}


def here_of(tmp_path: Path) -> Path:
    """The current folder of the commands that have their sandboxes under ``tmp_path``."""
    return tmp_path.parent / f"{tmp_path.name}-here"


@contextmanager
def pagent(tmp_path: Path, *arguments: str, url: bool = True, **env: str) -> Iterator[Running]:
    """The command with its sandboxes under ``tmp_path``, where files that it leaves are found."""
    here_of(tmp_path).mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "pagent", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(tmp_path) | env,
        cwd=here_of(tmp_path),
    )
    with process:
        running = Running(process)
        try:
            if url:
                running.address = running.said(URL)[1]
            yield running
        finally:
            process.kill()
    assert os.listdir(tmp_path) == []


def run(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """``pagent run`` to its own end."""
    with pagent(tmp_path, "run", *arguments, url=False) as running:
        code, stdout, stderr = running.ended()
    return code, stdout, INTRODUCTION.sub("", stderr)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
    return body
