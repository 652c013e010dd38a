from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pagent import cli
from pagent.config.joining import JoinData
from pagent.config.model import Settings
from pagent.config.schema import keys
from pagent.errors import ConfigError

Invoke = Callable[..., Result]


class FakeAgent:
    """Replaces the module `pagent.cli.servers.serve_work`, and records the settings that it is started with."""

    def __init__(self) -> None:
        self.started: list[tuple[Settings, bool]] = []
        self.outcome: int | Exception = 0

    async def run_agent(
        self,
        settings: Settings,
        *,
        connection_debug: bool = False,
        reread: Callable[[], Settings] | None = None,
        join: JoinData | None = None,
    ) -> int:
        self.started.append((settings, connection_debug))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> FakeAgent:
    fake = FakeAgent()
    module = types.ModuleType("pagent.cli.servers.serve_work")
    module.run_agent = fake.run_agent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pagent.cli.servers.serve_work", module)
    # The handler of the log would stay after the test.
    monkeypatch.setattr("pagent.log.setup", lambda level, fmt, as_json: fake.__dict__.update(log=(level, fmt)))
    return fake


@pytest.fixture
def invoke() -> Invoke:
    return lambda *args: CliRunner().invoke(cli.pagent, args, prog_name="pagent")


# --- serve, with and without its name ---------------------------------------------------------------


@pytest.mark.parametrize("word", [[], ["serve"]], ids=["no command", "serve"])
class TestServe:
    def test_no_options(self, agent: FakeAgent, invoke: Invoke, word: list[str]) -> None:
        assert invoke(*word).exit_code == 0
        assert agent.started == [(Settings(), False)]

    def test_all_options(self, agent: FakeAgent, invoke: Invoke, word: list[str], tmp_path: Path) -> None:
        file = tmp_path / "agent.yaml"
        file.write_text("server: {port: 1, interface: '::1'}")
        args = ["--config", str(file), "--log-level", "debug", "--log-format", "%(message)s", "--connection-debug"]
        args += ["--set", "server.port=2", "--set", "identity.name='x'", "--property", "a=1", "--property", "b=2"]
        assert invoke(*word, *args).exit_code == 0
        ((settings, connection_debug),) = agent.started
        assert (settings.server.port, settings.server.interface, settings.identity.name) == (2, "::1", "x")
        assert settings.properties == {"a": "1", "b": "2"}
        assert connection_debug
        assert agent.__dict__["log"] == ("debug", "%(message)s")

    def test_an_option_with_its_value_in_one_word(self, agent: FakeAgent, invoke: Invoke, word: list[str]) -> None:
        assert invoke(*word, "--set=server.port=7").exit_code == 0
        assert agent.started[0][0].server.port == 7

    def test_the_exit_code_is_the_agents(self, agent: FakeAgent, invoke: Invoke, word: list[str]) -> None:
        agent.outcome = 1
        assert invoke(*word).exit_code == 1

    def test_a_bad_configuration(self, agent: FakeAgent, invoke: Invoke, word: list[str]) -> None:
        result = invoke(*word, "--set", "server.prot=1")
        assert result.exit_code == 2
        assert (
            result.stderr == "pagent: server.prot: unknown key; did you mean server.port? (pagent help unknown-key)\n"
        )
        assert result.stdout == ""
        assert agent.started == []

    def test_a_refusal_of_the_agent(self, agent: FakeAgent, invoke: Invoke, word: list[str]) -> None:
        agent.outcome = ConfigError("neither server.enabled\nnor client.enabled")
        result = invoke(*word)
        assert result.exit_code == 2
        assert result.stderr == "pagent: neither server.enabled\\nnor client.enabled\n"

    def test_a_missing_file(self, agent: FakeAgent, invoke: Invoke, word: list[str], tmp_path: Path) -> None:
        result = invoke(*word, "--config", str(tmp_path / "none.yaml"))
        assert result.exit_code == 2
        assert (
            result.stderr == f"pagent: {tmp_path / 'none.yaml'}: No such file or directory (pagent help no-such-file)\n"
        )

    @pytest.mark.parametrize("args", [["--nonsense"], ["--log-level", "loud"], ["--set"], ["--log-format"]])
    def test_a_wrong_command_line(self, agent: FakeAgent, invoke: Invoke, word: list[str], args: list[str]) -> None:
        result = invoke(*word, *args)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("pagent: ")
        assert "--help" in line
        assert agent.started == []


def test_an_unknown_command_is_an_error(agent: FakeAgent, invoke: Invoke) -> None:
    result = invoke("sevre")
    assert result.exit_code == 2
    assert "No such command" in result.stderr
    assert agent.started == []


def test_any_other_error_is_not_swallowed(agent: FakeAgent, invoke: Invoke) -> None:
    agent.outcome = RuntimeError("a bug")
    assert invoke().exception is agent.outcome


# --- help and version -------------------------------------------------------------------------------


def flat(text: str) -> str:
    """Return a help text without its line breaks and columns."""
    return " ".join(text.split())


@pytest.mark.parametrize("args", [["serve", "-h"], ["serve", "--help"], ["--set", "a=1", "--help"], ["help", "serve"]])
def test_help_ends_with_every_key_its_default_and_its_meaning(invoke: Invoke, args: list[str]) -> None:
    result = invoke(*args)
    assert result.exit_code == 0
    _, _, listed = flat(result.stdout).partition("Configuration keys (file or --set): ")
    entries = [f"{key.name} {key.help} [{key.kind}; default: {key.default}]" for key in keys(Settings)]
    assert listed == " ".join(entries)


def test_help_has_the_options(invoke: Invoke) -> None:
    text = invoke("serve", "--help").stdout
    for option in ("--config", "--log-level", "--log-format", "--connection-debug", "--set", "--property"):
        assert f"  {option}" in text


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["help"]])
@pytest.mark.parametrize("width", [80, 40])
def test_the_list_of_commands_fits_a_terminal(args: list[str], width: int) -> None:
    result = CliRunner().invoke(cli.pagent, args, prog_name="pagent", terminal_width=width)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert width < 80 or len(lines) <= 24
    for name, entry in cli.COMMANDS.items():
        assert f"  {name:10} {entry.text}" in result.stdout


@pytest.mark.parametrize(
    "args", [*([name, "--help"] for name in cli.COMMANDS), ["help", "doctor"], ["token", "new", "-h"]]
)
def test_a_help_text_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, invoke: Invoke, args: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = re.sub(r"Examples?:\n(.*\n)*?\n", "", invoke(*args).stdout)
    # The names of options and configuration keys are not cut.
    assert [line for line in text.splitlines() if len(line) > 40 and " " in line.strip()] == []


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "route"])
def test_every_command_has_an_example(invoke: Invoke, name: str) -> None:
    text = invoke(name, "--help").stdout
    assert re.search(rf"Examples?:\n(.*\n)*?  +(\S.*\| )?pagent {name}\b", text)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("sevre", "serve"),
        ("stop", "kill"),
        ("ls", "ps"),
        ("delete", "rm"),
        ("lgos", "logs"),
        ("lss", "ps"),
        ("PS", "ps"),
    ],
)
def test_a_wrong_command_has_a_suggestion(invoke: Invoke, word: str, meant: str) -> None:
    result = invoke(word)
    assert result.exit_code == 2
    assert f"No such command '{word}'; did you mean {meant}?" in result.stderr


def test_a_wrong_command_of_a_group_is_answered_with_its_commands(invoke: Invoke) -> None:
    expected = "pagent: No such command 'rm'; pagent context has add, list, remove, use\n"
    assert invoke("context", "rm", "lab").stderr == expected


def test_an_option_without_its_value_is_explained_by_its_command(invoke: Invoke) -> None:
    assert (
        invoke("run", "--name").stderr
        == "pagent: Option '--name' requires an argument; pagent run --help explains it\n"
    )
    expected = "pagent: Option '--token-file' requires an argument; pagent context --help explains it\n"
    assert invoke("context", "add", "--token-file").stderr == expected


def test_the_choices_of_an_argument_are_in_one_line(invoke: Invoke) -> None:
    expected = "pagent: Missing argument 'SHELL'. Choose from: bash, zsh, fish; pagent completion --help explains it\n"
    assert invoke("completion").stderr == expected


@pytest.mark.parametrize("signal", ["FOO", "99", "-1"])
def test_a_signal_that_does_not_exist(invoke: Invoke, signal: str) -> None:
    result = invoke("kill", "--signal", signal, "--agent", "127.0.0.1:1", "job")
    assert result.exit_code == 2
    assert "write a name such as TERM, INT or KILL, or a number" in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk")
@pytest.mark.parametrize("words", [["--help"], ["ps", "--help"], ["version"]])
def test_a_text_for_a_full_disk(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pagent", *words]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (
        1,
        "pagent: standard output: No space left on device (pagent help disk-full)\n",
    )


def test_a_standard_output_that_is_closed() -> None:
    command = ["sh", "-c", 'exec "$0" -m pagent help errors >&-', sys.executable]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_help_of_a_command_within_another(invoke: Invoke) -> None:
    assert "Usage: pagent token new" in invoke("help", "token", "new").stdout
    for words in (["help", "nonsense"], ["help", "token", "nonsense"], ["help", "ps", "nonsense"]):
        assert invoke(*words).exit_code == 2


def test_on_a_terminal_no_argument_prints_the_help(
    agent: FakeAgent, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.cli._is_interactive", lambda: True)
    assert invoke().stdout == invoke("--help").stdout
    assert agent.started == []


def test_every_command_can_be_imported_and_has_a_short_help() -> None:
    context = click.Context(cli.pagent)
    for name in cli.COMMANDS:
        command = cli.pagent.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(invoke: Invoke, word: str) -> None:
    result = invoke(word)
    assert result.exit_code == 0
    assert result.stdout.startswith("pagent, version ")


# --- as a process -----------------------------------------------------------------------------------


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, **options)


def test_python_m_pagent_is_pagent() -> None:
    result = run("-m", "pagent", "--set", "server.port=x")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("pagent: server.port: x is not a Python literal")
    assert "Traceback" not in result.stderr


def test_help_loads_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys; from pagent.cli import pagent\n"
        "try: pagent(['--help'])\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    loaded = set(run("-c", program, check=True).stdout.partition("LOADED ")[2].split())
    assert "pagent.cli.commands" in loaded
    heavy = {"aiohttp", "asyncio", "msgpack", "orjson", "psutil", "uvloop", "wsproto", "yaml"}
    assert loaded & heavy == set()


def test_ctrl_c_in_a_command_without_a_loop_ends_it_silently() -> None:
    script = (
        "import os, signal, sys; from pagent.cli import main; from pagent.cli.setup import about;"
        "sys.argv[1:] = ['version'];"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "about.version_text = lambda: os.kill(os.getpid(), signal.SIGINT); main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
