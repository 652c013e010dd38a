"""Run the commands of the README, and the examples of the page for programs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest

from tests.kit.agents import agent_process, router_process
from tests.kit.commands import environment, pagent
from tests.kit.peer import PATIENCE_S

README = Path(__file__).parent.parent / "README.rst"
PROGRAMS = README.parent / "docs" / "how-to" / "programs.rst"


def blocks(page: Path, begins: str) -> list[str]:
    """Return the literal blocks of a page that begin with a text, without their indentation."""
    found = re.findall(r"::\n\n((?:    .*\n|\n)+)", page.read_text())
    return [text for text in map(textwrap.dedent, found) if text.startswith(begins)]


async def test_the_python_example_runs_as_pasted(tmp_path: Path) -> None:
    (example,) = blocks(PROGRAMS, "import asyncio")
    # Only the port differs: tests run at the same time.
    (address,) = re.findall(r'connect_agent\("(127\.0\.0\.1:7000)", token=token\)', example)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "token").write_text("a-token\n")
    async with agent_process(tmp_path / "jobs", "--token-file", str(tmp_path / "token")) as agent:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        here = example.replace(address, f"127.0.0.1:{agent.ports['rpc']}")
        async with asyncio.timeout(PATIENCE_S):
            stdout, stderr = await process.communicate(here.encode())
    assert (process.returncode, stderr.decode()) == (0, "")
    assert stdout.startswith(b"200 ")
    assert b"Directory listing" in stdout


def test_the_python_example_can_be_typed_into_an_interpreter() -> None:
    (example,) = blocks(PROGRAMS, "import asyncio")
    assert re.search(r"\n\n +\S", example) is None  # an empty line ends what is being defined


def test_the_first_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    (printed,) = blocks(README, "$ pagent run")
    command, *lines = printed.strip().splitlines()
    arguments = command.removeprefix("$ pagent ").split()
    with pagent(tmp_path, *arguments, url=False) as running:
        for line in (line for line in lines if line.startswith("pagent: ")):
            words = re.escape(re.sub(r"[0-9a-f]{32}|:\d+|/home/\S+", "@", line))
            running.said(words.replace("@", r"\S+"))
        running.ctrl_c()
        assert running.ended()[0] == 130


async def test_the_requests_to_the_router_can_be_pasted(tmp_path: Path) -> None:
    (pasted,) = blocks(PROGRAMS, "curl ")
    options = ["--set", "identity.uid='demo'", "--set", "server.enabled=False"]
    command = tmp_path / "pagent"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pagent "$@"\n')
    command.chmod(0o755)
    env = environment(tmp_path) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    async with router_process("--with-agent", *options, env=env) as router:
        here = pasted.replace("8161", str(router.ports["control"])).replace("curl ", "curl -sS --fail ")
        process = await asyncio.create_subprocess_exec(
            "sh", "-e", "-c", here, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        async with asyncio.timeout(PATIENCE_S):
            stdout, stderr = await process.communicate()
    assert (process.returncode, stderr.decode()) == (0, "")
    assert b"Directory listing" in stdout


@pytest.mark.parametrize("name", ["run", "forward", "serve", "report", "route"])
async def test_every_option_that_the_readme_names_is_one(name: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pagent", name, "--help", stdout=asyncio.subprocess.PIPE,
        env=environment(tmp_path) | {"COLUMNS": "120"},
    )  # fmt: skip
    help_text, _ = await process.communicate()
    used = set()
    for line in re.findall(rf"pagent {name} (.*?)(?: -- |``|$)", README.read_text(), re.MULTILINE):
        used |= set(re.findall(r"(?<!\S)--?[a-z]+", line)) - {"--", "--help"}
    assert os.linesep not in used
    assert {option for option in used if option.encode() not in help_text} == set()
