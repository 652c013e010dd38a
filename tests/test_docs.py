"""The pages agree with the sources."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.config.schema import keys
from tests.kit import commands_page, errors_page, floors_page, metrics_page
from tests.kit.limits_page import CONFIGURED, OF_A_ROUTER, all_entries, page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_limits_are_those_of_the_source() -> None:
    assert (DOCS / "limits.rst").read_text() == page(), "python -m tests.kit.limits_page > docs/limits.rst"


def test_the_floors_are_those_of_the_architecture_test() -> None:
    assert (DOCS / "floors.rst").read_text() == floors_page.page(), "make pages"


def test_the_metrics_are_those_of_the_declarations() -> None:
    assert (DOCS / "metrics.rst").read_text() == metrics_page.page(), "make pages"


def test_every_file_that_a_page_names_exists() -> None:
    named = set()
    for path in [*DOCS.rglob("*.rst"), *ROOT.glob("*.rst")]:
        named |= set(re.findall(r"``((?:[a-z][a-z0-9_]*/)+(?:[a-z0-9_]+\.[a-z]+)?)``", path.read_text()))
    assert len(named) > 30
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "pagent" / name).exists()]
    assert missing == []


def test_every_class_and_function_of_the_ways_of_a_request_exists() -> None:
    text = (DOCS / "architecture.rst").read_text()
    sources = {path: path.read_text() for path in (ROOT / "pagent").rglob("*.py")}
    methods = re.findall(r"``([A-Z]\w+)\.(\w+)``", text)
    functions = re.findall(r"``(\w+)\(\)``", text)
    assert len(methods) > 25
    assert len(functions) > 2
    for owner, method in methods:
        body = next((body for body in sources.values() if re.search(rf"^class {owner}\b", body, re.MULTILINE)), "")
        assert f"    def {method}(" in body or f"    async def {method}(" in body, f"{owner}.{method}"
    for function in functions:
        assert any(f"\ndef {function}(" in body for body in sources.values()), function


def test_every_constant_of_the_back_pressure_table_exists() -> None:
    text = (DOCS / "architecture.rst").read_text()
    named = set(re.findall(r"``([A-Z][A-Z_]+)``", text[text.index("Back pressure\n") :]))
    assert len(named) > 15
    sources = "\n".join(path.read_text() for path in (ROOT / "pagent").rglob("*.py"))
    assert [name for name in sorted(named) if f"\n{name}: Final" not in sources] == []


def test_every_mechanism_of_back_pressure_has_a_test() -> None:
    text = (DOCS / "architecture.rst").read_text()
    rows = text[text.index("Back pressure\n") :].split("   * - ")[2:]
    assert len(rows) > 15
    assert [row.splitlines()[0] for row in rows if "``tests/" not in row] == []


def test_every_package_is_on_the_page_of_the_architecture() -> None:
    text = (DOCS / "architecture.rst").read_text()
    packages = {f"``{path.parent.relative_to(ROOT / 'pagent')}/``" for path in (ROOT / "pagent").rglob("__init__.py")}
    assert {name for name in packages if name not in text} == {"``./``"}


def test_every_limit_has_a_reason_of_its_own() -> None:
    units, *limits = [(reason, names) for _, _, reason, names in all_entries()]
    assert units == ("", ["KIB", "MIB", "GIB"])
    assert [names for reason, names in limits if not reason or len(names) > 1] == []


def test_every_configured_limit_is_a_key() -> None:
    assert set(CONFIGURED) <= {key.name for key in keys(Settings)}
    assert set(OF_A_ROUTER) <= {key.name for key in keys(RouterSettings)}


def test_every_test_that_the_security_page_names_exists() -> None:
    named = re.findall(r"``(tests/[\w/]+\.py)(?:::(\w+))?``", (DOCS / "security.rst").read_text())
    assert len(named) > 20
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), (file, test)


@pytest.mark.parametrize("name", ["limits", "security"])
def test_the_readme_leads_to_it(name: str) -> None:
    assert f"docs/{name}.rst" in (ROOT / "README.rst").read_text()


def test_the_command_line_reference_is_that_of_the_commands() -> None:
    assert (DOCS / "reference.rst").read_text() == commands_page.page(), "make pages"


_COMMANDS = {found.command_path: found for found in commands_page.all_commands()}


@pytest.mark.parametrize("path", _COMMANDS)
def test_every_command_has_a_text_an_example_and_a_text_for_each_option(path: str) -> None:
    found = _COMMANDS[path]
    assert commands_page.paragraphs(found.command)
    assert [names for names, text in commands_page.options_of(found) if not text] == []
    parent = found.parent
    assert parent is not None
    lines = [*commands_page.examples(found.command), *commands_page.examples(parent.command)]
    assert any(re.search(rf"\b{path}\b", line) for line in lines)


@pytest.mark.parametrize("path", _COMMANDS)
def test_every_example_of_a_command_has_options_that_exist(path: str) -> None:
    for line in commands_page.examples(_COMMANDS[path].command):
        for part in re.findall(r"\bpagent ([^|>&;()$]+)", line):
            words = shlex.split(part)
            name = f"pagent {words[0]}"
            deeper = " ".join([name, *words[1:2]])
            found = _COMMANDS.get(deeper) or _COMMANDS[name]
            rest = words[deeper in _COMMANDS :][1:]
            found.command.make_parser(found).parse_args(rest)  # UsageError for an unknown option


def test_the_page_of_errors_is_that_of_the_entries() -> None:
    assert (DOCS / "errors.rst").read_text() == errors_page.page(), "make pages"
