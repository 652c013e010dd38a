"""``--debug``, and errors that no command expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import commands_page
from tests.kit.commands import environment

_FAULT = """
import sys
from pagent import cli
from pagent.cli.terminal import tables
def broken(*_): raise KeyError("one\\nline")
tables.print_table = tables.print_json = broken
cli.main()
"""


def ended(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _FAULT, *arguments],
        env=environment(folder) | {"XDG_CONFIG_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_unexpected_error_is_one_line(tmp_path: Path) -> None:
    process = ended(tmp_path, "context", "list")
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("pagent: unexpected error: KeyError: 'one\\nline' (context.py:")
    assert line.endswith("this is a fault of pagent; --debug prints more (pagent help unexpected-error)")


def test_debug_prints_its_traceback(tmp_path: Path) -> None:
    process = ended(tmp_path, "context", "list", "--debug")
    assert process.returncode == 1
    assert process.stderr.startswith("Traceback")
    assert "this is a fault of pagent (pagent help" in process.stderr


def test_debug_prints_the_traceback_of_a_failure(tmp_path: Path) -> None:
    process = ended(tmp_path, "config", "check", "--debug", "missing.yaml")
    assert process.returncode == 2
    assert process.stderr.startswith("Traceback")
    assert process.stderr.splitlines()[-1].startswith("pagent: missing.yaml: No such file")


@pytest.mark.parametrize(
    "found", [pytest.param(found, id=found.command_path) for found in commands_page.all_commands()]
)
def test_every_command_has_the_option(found: commands_page.click.Context) -> None:
    names = [param.name for param in found.command.params]
    assert names.count("debug") == (0 if hasattr(found.command, "commands") else 1)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "pagent", "config", "example"],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert process.returncode == 1
    assert process.stderr == "pagent: standard output: No space left on device (pagent help disk-full)\n"
