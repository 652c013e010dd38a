"""The entries of errors and the messages of the sources agree."""

from __future__ import annotations

import ast
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.cli.explained import explanations, lines_of, name_of, with_name

PACKAGE = Path(__file__).parent.parent.parent / "pagent"

#: Messages of the system, which no source has.
OF_THE_SYSTEM = {os.strerror(number) for number in range(1, 134)} | {
    "Name or service not known",
    "Temporary failure in name resolution",
    "No address associated with hostname",
}

MESSAGES = [(name, message) for name, entry in explanations().items() for message in entry.messages]


def texts() -> str:
    """Return all strings of the package, those with places with a NUL for each, one a line."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(rendered(node))
    return "\n".join(found)


def rendered(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)


TEXTS = texts()


def fragments(message: str) -> Iterator[str]:
    """Yield the parts of a template that are fixed, as a source may have them: split where it joins strings."""
    for part in re.split(r"<[a-z]+>|: |; | \(code ", message):
        if len(part.strip(" ():")) > 3:
            yield part.strip(" ():")


@pytest.mark.parametrize(("name", "message"), MESSAGES)
def test_every_message_of_an_entry_is_one_of_the_sources(name: str, message: str) -> None:
    for fragment in fragments(message):
        assert fragment in TEXTS or fragment in OF_THE_SYSTEM, fragment


@pytest.mark.parametrize(("name", "message"), MESSAGES)
def test_a_message_finds_its_entry(name: str, message: str) -> None:
    assert name_of(re.sub("<([a-z]+)>", r"some \1", message)) == name


def failures() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each message of the command line that a user gets as a failure."""
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "CommandFailed":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield f"{path.name}:{node.lineno}", str(first.value)
                elif isinstance(first, ast.JoinedStr) and re.search("[a-z]{3}", text := rendered(first)):
                    yield f"{path.name}:{node.lineno}", text.replace("\0", "something")


def test_every_failure_of_a_command_has_an_entry() -> None:
    """A new failure needs an entry in pagent/cli/errors.rst, or its message as one more line of an entry."""
    assert [each for each in failures() if name_of(each[1]) is None] == []


def test_every_name_in_a_message_is_that_of_an_entry() -> None:
    """Messages of logs have the name as a part of their text."""
    named = set(re.findall(r"\(pagent help ([a-z]+(?:-[a-z]+)+)\)", TEXTS))
    assert {"no-link", "router-open"} <= named
    assert named <= explanations().keys()


def test_a_message_without_an_entry_is_not_changed() -> None:
    assert with_name("3 files downloaded") == "3 files downloaded"
    assert with_name("job 'x' is not found; pagent ps -a lists all jobs").endswith(" (pagent help job-not-found)")


def test_the_texts_of_the_system_are_those_that_it_has() -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("name.invalid", 1, flags=socket.AI_NUMERICHOST)
    assert caught.value.strerror in OF_THE_SYSTEM


@pytest.mark.parametrize("name", explanations())
def test_an_entry_says_what_to_do_and_fits_a_terminal(name: str) -> None:
    lines = list(lines_of(name, 40))
    assert any(line.startswith("* ") for line in lines)
    assert [line for line in lines if len(line) > 40 and " " in line.strip("* ")] == []
