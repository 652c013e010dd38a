"""Run the commands of a page of the documentation, as a reader types them.

The blocks ``.. code-block:: console`` are run in order, in one folder. A line that begins with ``$`` is a command,
the lines after it are in its output, in this order: numbers, uids, paths and spaces may differ, ``...`` is any text,
and there may be more lines. A comment before a block says more of it:

``.. skip: reason``       it is not run
``.. fails: N``           its last command has this exit code
``.. until: text``        it runs until it prints the text; then it is ended as by Ctrl-C, at the end of the page
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.kit.commands import environment, without_names
from tests.kit.peer import PATIENCE_S

DOCS: Final = Path(__file__).parent.parent.parent / "docs"

_BLOCK: Final = re.compile(
    r"(?:^\.\. (?P<mark>skip|fails|until): (?P<word>.*)\n\n)?^\.\. code-block:: console\n\n(?P<text>(?:   .*\n|\n)+)",
    re.MULTILINE,
)
#: Parts of a printed line that differ each time, and patterns for them. Spaces come last.
_VARYING: Final = (
    (r"\.\.\.", ".*"),
    (r"[0-9a-f]{12,32}", "[0-9a-f]+"),
    (r"/home/\S+", r"\S+"),
    (r"\d+(?:\.\d+)?", r"[\d.]+"),
)


class Block(NamedTuple):
    """A block of a page."""

    mark: str | None
    word: str
    commands: str
    printed: list[str]


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page, by its path below docs."""
    for found in _BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        lines = textwrap.dedent(found["text"]).strip().replace("\\\n", "").splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        printed = [line for line in lines if line.strip() and not line.startswith("$ ")]
        yield Block(found["mark"], found["word"] or "", "\n".join(commands), printed)


def run_page(page: str, folder: Path, ports: Mapping[str, int]) -> int:
    """Run all blocks of a page in a folder; return how many. ``ports``: numbers of the page, and those to use."""
    env = _environment(folder)
    count = 0
    with ExitStack() as stack:
        for block in blocks(page):
            if block.mark == "skip":
                continue
            commands = block.commands
            for number, port in ports.items():
                commands = re.sub(rf"\b{number}\b", str(port), commands)
            count += 1
            if block.mark == "until":
                stack.enter_context(_until(block.word, commands, folder, env))
                continue
            done = subprocess.run(
                ["bash", "-e", "-c", commands],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=folder, env=env, text=True, timeout=PATIENCE_S,
            )  # fmt: skip
            assert done.returncode == (int(block.word) if block.mark == "fails" else 0), (commands, done.stdout)
            check_printed(block.printed, done.stdout)
    return count


def check_printed(expected: list[str], output: str) -> None:
    """Fail unless the output has the expected lines, in their order."""
    left = iter(without_names(output).splitlines())
    for line in expected:
        pattern = _pattern(without_names(line))
        assert any(re.fullmatch(pattern, each.strip()) for each in left), f"not printed: {line!r}, but:\n{output}"


def _pattern(line: str) -> str:
    varying = "|".join(f"({part})" for part, _ in _VARYING)
    found = ""
    for part in re.split(f"(?:{varying})", line.strip()):
        if part is None:
            continue
        pattern = next((instead for kind, instead in _VARYING if re.fullmatch(kind, part)), None)
        found += re.sub(r"(?:\\ )+", r"\\s+", re.escape(part)) if pattern is None else pattern
    return found


def _environment(folder: Path) -> dict[str, str]:
    command = folder / "bin" / "pagent"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pagent "$@"\n')
    command.chmod(0o755)
    env = environment(folder) | {"HOME": str(folder), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    for name in ("PAGENT_TOKEN", "PAGENT_CONTEXT", "XDG_CONFIG_HOME"):
        env.pop(name, None)
    return env


@contextmanager
def _until(text: str, commands: str, folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        ["bash", "-e", "-c", commands],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=folder, env=env, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        read = []
        for line in process.stdout:
            read.append(line)
            if text in line:
                break
        else:
            raise AssertionError(f"it ended without {text!r}: {''.join(read)}")
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.stdout.read()
