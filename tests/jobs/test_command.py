from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent import limits
from pagent.errors import ProcessPortCountError
from pagent.jobs.command import Command, check_command, property_variables, seconds

GOOD: dict[str, Any] = {
    "args": ["prog"], "env": None, "cwd": None, "port_expected_count": 1, "forward_stdout": False,
    "port": None, "ready": "report", "ready_timeout": 30.0, "timeout": None,
}  # fmt: skip


def check(**changes: Any) -> Command:
    return check_command(**(GOOD | changes))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("args", None, TypeError),
        ("args", "ls -l", TypeError),
        ("args", b"ls", TypeError),
        ("args", [], ValueError),
        ("args", [""], ValueError),
        ("args", ["", "a"], ValueError),
        ("args", ["ls", 1], TypeError),
        ("args", [b"ls"], TypeError),
        ("env", {"A": b"a"}, TypeError),
        ("env", {b"\xff": "a"}, TypeError),
        ("cwd", b"folder", TypeError),
        ("args", ["l\0s"], ValueError),
        ("args", ["\ud800"], ValueError),
        ("env", [], TypeError),
        ("env", "A=b", TypeError),
        ("env", {"A": 1}, TypeError),
        ("env", {1: "a"}, TypeError),
        ("env", {b"A": "a"}, TypeError),
        ("env", {"": "a"}, ValueError),
        ("env", {"A=B": "a"}, ValueError),
        ("env", {"A\0": "a"}, ValueError),
        ("env", {"A": "a\0"}, ValueError),
        ("env", {"A": "\udfff"}, ValueError),
        ("cwd", 1, TypeError),
        ("cwd", b"a", TypeError),
        ("port_expected_count", True, TypeError),
        ("port_expected_count", "1", TypeError),
        ("port_expected_count", 1.0, TypeError),
        ("port_expected_count", None, TypeError),
        ("port_expected_count", -1, ProcessPortCountError),
        ("port_expected_count", limits.PORTS_PER_JOB + 1, ProcessPortCountError),
        ("forward_stdout", 1, TypeError),
        ("forward_stdout", None, TypeError),
        ("port", True, TypeError),
        ("port", "80", TypeError),
        ("port", 8.0, TypeError),
        ("port", 0, ValueError),
        ("prefer_port", "80", TypeError),
        ("prefer_port", 0, ValueError),
        ("more_ports", ["db"], TypeError),
        ("more_ports", {"db": 80}, ValueError),  # without a port
        ("port", 65536, ValueError),
        ("ready", None, ValueError),
        ("ready", "now", ValueError),
        ("ready", "connect", ValueError),
        ("ready_timeout", None, TypeError),
        ("ready_timeout", False, TypeError),
        ("ready_timeout", "1", TypeError),
        ("ready_timeout", 0, ValueError),
        ("ready_timeout", -1.0, ValueError),
        ("ready_timeout", math.nan, ValueError),
        ("ready_timeout", math.inf, ValueError),
        ("timeout", 0, ValueError),
        ("timeout", True, TypeError),
        ("timeout", math.inf, ValueError),
    ],
)
def test_a_wrong_argument_is_named(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        check(**{name: value})


def test_connect_knows_one_port() -> None:
    assert check(port="auto", ready="connect").reports_awaited == 0
    assert check(port=80, ready="connect", port_expected_count=0).reports_awaited == 0
    with pytest.raises(ProcessPortCountError, match="port_expected_count"):
        check(port="auto", ready="connect", port_expected_count=2)


def test_good_arguments() -> None:
    command = check(args=("a", "b"), env={"A": "ü", "B": ""}, cwd="x/y", port_expected_count=0, timeout=3)
    assert command.args == ("a", "b")
    assert command.cwd == "x/y"
    assert command.timeout_s == 3.0


def test_texts_that_are_not_utf_8_are_bins() -> None:
    command = check(args=["cat", b"K\xf6ln {port}"], env={"A": b"\xff", "B": "b"}, cwd=b"/d\xf6r")
    assert [os.fsencode(text) for text in command.command_line(8)] == [b"cat", b"K\xf6ln 8"]
    assert {name: os.fsencode(value) for name, value in command.env.items()} == {"A": b"\xff", "B": b"b"}
    assert os.fsencode(command.cwd) == b"/d\xf6r"
    assert check(cwd=b"d\xf6r").cwd == "d\U0010fef6r"  # below the sandbox: as file names


@pytest.mark.parametrize("changes", [{"args": [b"\xff\0"]}, {"env": {"A": b"\0\xff"}}])
def test_bins_that_no_system_takes(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        check(**changes)


def test_the_order_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "agent")
    monkeypatch.setenv("DA__PAGENT__prop", "agent")
    monkeypatch.setenv("DA__PAGENT__JOB_ID", "agent")
    monkeypatch.setenv("ENV", "agent")
    properties = property_variables({"prop": "property", "größe": "日本 ü", "JOB_ID": "property", "ENV": "property"})
    command = check(env={"ENV": "env {port}", "DA__PAGENT__prop": "env", "PORT": "env {port}"}, port=4711)
    environment = command.environment(properties, "http://127.0.0.1:5/job_started", "uid", "secret", 4711)
    assert environment["OWN"] == "agent"
    assert environment["DA__PAGENT__größe"] == "日本 ü"
    assert environment["DA__PAGENT__ENV"] == "property"
    assert environment["DA__PAGENT__JOB_ID"] == "secret"
    assert environment["DA__PAGENT__JOB_UID"] == "uid"
    assert environment["DA__PAGENT__JOB_ENDPOINT"] == "http://127.0.0.1:5/job_started"
    assert environment["DA__PAGENT__prop"] == "env"
    assert environment["ENV"] == "env 4711"
    assert environment["PORT"] == "env 4711"


def test_without_ports_there_is_no_endpoint_and_no_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DA__PAGENT__prop", "agent")
    for name in ("JOB_ENDPOINT", "JOB_ID", "JOB_UID"):  # of an agent that is itself a job: not for its jobs to know
        monkeypatch.setenv(f"DA__PAGENT__{name}", "outer")
    monkeypatch.delenv("PORT", raising=False)
    environment = check(port_expected_count=0, env={"A": "{port}"}).environment({}, "http://x", "uid", "secret", None)
    expected = {"DA__PAGENT__prop": "agent"}
    assert {name: value for name, value in environment.items() if name.startswith("DA__PAGENT__")} == expected
    assert "PORT" not in environment
    assert environment["A"] == "{port}"


@pytest.mark.parametrize(
    ("given", "no_proxy", "upper"),
    [
        ({}, "127.0.0.1,localhost", "127.0.0.1,localhost"),
        ({"no_proxy": "a.b"}, "a.b,127.0.0.1,localhost", "a.b,127.0.0.1,localhost"),
        ({"NO_PROXY": "a.b, localhost"}, "a.b,localhost,127.0.0.1", "a.b,localhost,127.0.0.1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost", "b,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*", "*"),
    ],
)
def test_a_report_goes_to_no_proxy(given: dict[str, str], no_proxy: str, upper: str) -> None:
    for env, own in ((given, {}), ({}, given)):
        environment = check(env=env, port_expected_count=1).environment(
            {}, "http://127.0.0.1:1/", "uid", "secret", None, own
        )
        assert (environment["no_proxy"], environment["NO_PROXY"]) == (no_proxy, upper)
    assert "no_proxy" not in check(port_expected_count=0).environment({}, "", "uid", "secret", None, {})


def test_the_port_in_the_command_line() -> None:
    command = check(args=["serve", "--port={port}", "{host}", "{port}{port}"], port=80)
    assert command.command_line(80) == ["serve", "--port=80", "{host}", "8080"]
    assert check(args=["{port}"]).command_line(None) == ["{port}"]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"": 80}, ValueError),
        ({"a b": 80}, ValueError),
        ({1: 80}, ValueError),
        ({"a": "80"}, TypeError),
        ({"a": True}, TypeError),
        ({"a": 65536}, ValueError),
        ({f"n{number}": "auto" for number in range(limits.PORTS_PER_JOB)}, ProcessPortCountError),
    ],
)
def test_further_ports_that_are_wrong(more: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(port="auto", more_ports=more)


def test_further_ports_by_name() -> None:
    command = check(
        args=["{port}", "{port:db}", "{{port}}"], env={"A": "{port:db}"}, port=80, more_ports={"db": "auto"}
    )
    assert command.command_line(80, {"db": 81}) == ["80", "81", "{port}"]
    environment = command.environment({}, "", "uid", "secret", 80, more={"db": 81, "x-y": 82})
    assert [environment[name] for name in ("PORT", "PORT_DB", "PORT_X_Y", "A")] == ["80", "81", "82", "81"]


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        ({"a=b": "c"}, ValueError),
        ({"a\0": "c"}, ValueError),
        ({"a": "c\0"}, ValueError),
        ({"a": "\ud800"}, ValueError),
        ({"a": 1}, TypeError),
        ({1: "a"}, TypeError),
    ],
)
def test_properties_that_no_environment_can_hold(properties: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="property"):
        property_variables(properties)


@given(st.dictionaries(st.text(), st.text()))
def test_any_accepted_property_can_be_an_environment(properties: dict[str, str]) -> None:
    try:
        variables = property_variables(properties)
    except ValueError:
        assert any("\0" in text or "=" in name for name, value in properties.items() for text in (name, value))
    else:
        assert variables == {f"DA__PAGENT__{name}": value for name, value in properties.items()}
        for name, value in variables.items():
            assert b"\0" not in os.fsencode(name + value)
            assert "=" not in name


def test_zero_seconds_where_allowed() -> None:
    assert seconds("linger", 0, 10.0, zero=True) == 0.0
    with pytest.raises(ValueError, match="linger"):
        seconds("linger", 0, 10.0)
    with pytest.raises(ValueError, match="linger"):
        seconds("linger", 10.5, 10.0)


def test_what_no_system_takes() -> None:
    """It is refused before anything of it is copied."""
    most = limits.COMMAND_MAX
    check_command(["x", "y" * (most - 3)], {"A": "z"})
    for args, env in ((["x", "y" * most], {}), (["x"], {"A": "z" * most}), (["x"], {"A" * most: ""})):
        with pytest.raises(OSError, match="Argument list too long"):
            check_command(args, env)


def test_too_many_places_for_ports() -> None:
    most = limits.COMMAND_PLACES_MAX
    check_command(["x", "{port}" * most], None, port=80)
    for args, env in ((["x", "{port}" * most, "{{port"], None), (["x", "{port}"], {"A": "{port:b}" * most})):
        with pytest.raises(ValueError, match="at most 1000 times"):
            check_command(args, env, port=80)
