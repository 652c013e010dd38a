from __future__ import annotations

import pytest

from pagent.cli.commands import GROUPS, lines_of_help, suggestion

#: The packages of each group.
PACKAGES = {
    "Programs": {"run", "ports", "copy"},
    "Jobs": {"jobs"},
    "Agents and routers": {"servers"},
    "Set-up": {"setup"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_command_is_in_a_package_of_its_group(group: str) -> None:
    assert {entry.module.partition(".")[0] for entry in GROUPS[group]} == PACKAGES[group]


@pytest.mark.parametrize("width", [20, 39, 76, 77, 120])
def test_the_help_lists_all_commands_within_the_width(width: int) -> None:
    lines = list(lines_of_help(width))
    assert all(len(line) <= width for line in lines)
    words = {word for line in lines for word in line.split()}
    assert {entry.name for entries in GROUPS.values() for entry in entries} <= words


@pytest.mark.parametrize(
    ("word", "command"), [("list", "ps"), ("shell", "exec"), ("forwrad", "forward"), ("xyzzy", None), ("", None)]
)
def test_the_suggestion_for_an_unknown_word(word: str, command: str | None) -> None:
    assert suggestion(word) == command
