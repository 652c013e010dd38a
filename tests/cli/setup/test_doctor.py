"""``pagent doctor``."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pagent.cli.setup import host_checks
from pagent.cli.setup.checks import Level
from tests.cli.commands import Outcome, outcome_of
from tests.kit.remotes import AGENT, RemoteProcess


@pytest.fixture(autouse=True)
def no_contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "PAGENT_TOKEN", "PAGENT_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def doctor(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def run(*arguments: str) -> Outcome:
        return outcome_of(capfd, tmp_path, ["doctor", *arguments])

    return run


def steps(outcome: Outcome) -> dict[str, str]:
    """Return name and result of the checks after those of the host, the last of which is the clock."""
    found = [(each["check"], each["result"]) for each in json.loads(outcome.stdout)]
    return dict(found[[name for name, _ in found].index("clock") + 1 :])


def of(outcome: Outcome, name: str) -> dict[str, str]:
    found: dict[str, str] = next(each for each in json.loads(outcome.stdout) if each["check"] == name)
    return found


# --- the host -----------------------------------------------------------------------------------------


def test_this_host_has_what_an_agent_needs(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    outcome = doctor()
    assert (outcome.code, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert {line.split()[0] for line in lines if line[0] != " "} <= {"ok", "warning"}
    assert [line for line in lines if len(line) > 40 and " " in line[9:].strip()] == []
    for name in ("openat2", "subreaper", "cgroup", "user", "open files", "IPv4", "folder", "clock"):
        assert f" {name}: " in outcome.stdout


def test_contexts_that_cannot_be_read_are_a_check_that_has_failed(doctor: Any, tmp_path: Path) -> None:
    (tmp_path / "pagent").mkdir()
    (tmp_path / "pagent" / "contexts.yaml").write_text("contexts: [")
    for arguments in ([], ["--context", "lab"]):
        outcome = doctor("--json", *arguments)
        assert (outcome.code, outcome.stderr) == (1, "")
        assert steps(outcome) == {"context": "failed"}
        assert "contexts.yaml: line 1: " in of(outcome, "context")["text"]


def test_files_of_the_system_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    checks = {check.name: check for check in host_checks.host_checks(None)}
    for name in ("no_new_privs", "namespaces", "user"):
        assert (checks[name].level, "Permission denied" in checks[name].text) == (Level.WARNING, True), name


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    checks = {check.name: check for check in host_checks.host_checks(tmp_path / "missing")}
    assert checks["folder"].level is Level.FAILED
    assert "No such file" in checks["folder"].text


@pytest.mark.parametrize(("free", "level"), [(1, Level.FAILED), (100 << 20, Level.WARNING), (5 << 30, Level.OK)])
def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    class Usage:
        total = 10 << 30

    Usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    assert next(each for each in host_checks.host_checks(tmp_path) if each.name == "folder").level is level


# --- a configuration ----------------------------------------------------------------------------------


def configured(folder: Path, text: str) -> str:
    file = folder / "agent.yaml"
    file.write_text(text)
    return str(file)


def test_a_configuration_with_a_fault_has_failed(doctor: Any, tmp_path: Path) -> None:
    outcome = doctor("--json", "--config", configured(tmp_path, "server: {prot: 1}"))
    assert outcome.code == 1
    assert "server.prot: unknown key" in of(outcome, "configuration")["text"]


def test_what_a_configuration_needs_and_the_host_does_not_have(doctor: Any, tmp_path: Path) -> None:
    outcome = doctor("--json", "--config", configured(tmp_path, "jobs: {isolation: {user: no-such-user}}"))
    assert outcome.code == 1
    assert "jobs.isolation.user" in json.loads(outcome.stdout)[-1]["text"]


@pytest.mark.parametrize("options", [[], ["--router"]])
def test_ports_of_a_configuration(doctor: Any, tmp_path: Path, options: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        outcome = doctor("--json", *options, "--config", configured(tmp_path, f"server: {{port: {port}}}"))
    assert outcome.code == 0
    assert steps(outcome) == {"configuration": "ok", "server.port": "warning"}


def test_the_routers_of_a_configuration_are_tried(doctor: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    text = f"client: {{enabled: true, address: 'ws://127.0.0.1:{port}'}}"
    outcome = doctor("--json", "--config", configured(tmp_path, text))
    assert outcome.code == 1
    assert steps(outcome) == {"configuration": "ok", "name": "ok", "TCP": "failed"}


# --- a link -------------------------------------------------------------------------------------------


def test_all_steps_of_a_link(place: RemoteProcess, doctor: Any) -> None:
    outcome = doctor("--json", *place.options)
    assert outcome.code == 0
    assert steps(outcome) == {"name": "ok", "TCP": "ok", "upgrade": "ok", "token": "ok"}


@pytest.mark.parametrize("place", [AGENT], indirect=True)  # a router without tokens is open
def test_a_token_that_is_not_accepted(place: RemoteProcess, doctor: Any, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("another\n")
    outcome = doctor("--json", "--agent", place.address, "--token-file", str(tmp_path / "other"))
    assert outcome.code == 1
    assert steps(outcome) == {"name": "ok", "TCP": "ok", "upgrade": "ok", "token": "failed"}
    assert "token-not-accepted" in of(outcome, "token")["advice"]


@pytest.mark.parametrize("place", [AGENT], indirect=True)
def test_a_link_without_a_token(place: RemoteProcess, doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGENT_TOKEN", raising=False)
    outcome = doctor("--json", "--agent", place.address)
    assert outcome.code == 0
    assert steps(outcome) == {"name": "ok", "TCP": "ok", "upgrade": "ok", "token": "warning"}


@pytest.mark.parametrize(
    ("address", "last", "text"),
    [
        ("127.0.0.1:{closed}", "TCP", "Connection refused"),
        ("name.invalid:1", "name", "name.invalid"),
        ("wss://{place}/", "TLS", "does the peer expect TLS?"),
        ("ws://{place}/other", "upgrade", "HTTP status"),
        ("nonsense", "address", "port missing"),
    ],
)
def test_the_first_step_that_fails_is_the_last(
    place: RemoteProcess, doctor: Any, tmp_path: Path, address: str, last: str, text: str
) -> None:
    (tmp_path / "token").write_text("any\n")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    where = address.format(closed=port, place=place.address)
    outcome = doctor("--json", "--agent", where, "--token-file", str(tmp_path / "token"))
    assert outcome.code == 1
    check = json.loads(outcome.stdout)[-1]
    assert (check["check"], check["result"]) == (last, "failed")
    assert text in check["text"]
    assert check["advice"]
