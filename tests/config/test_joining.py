"""The join data of an agent: what is read, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from pagent.config.joining import SLURM_END, JoinData, parse_join_data, read_join_data
from pagent.config.model import IdentitySettings, Settings
from pagent.errors import ConfigError
from pagent.limits import JOIN_DATA_MAX

GIVEN: dict[str, Any] = {"addresses": ["r:1", "wss://s"], "token": "secret", "uid": "u", "idle_s": 5}
JOIN = JoinData(addresses=("r:1", "wss://s"), token="secret", uid="u", idle_s=5.0)


def test_what_is_written_is_read() -> None:
    join = JoinData(addresses=("a:1",), token="t", uid="u", properties={"p": "q\n"}, idle_s=1.5, deadline=2e9)
    assert read_join_data("-", io.BytesIO(join.encode())) == join
    assert join.encode().count(b"\n") == 1


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "join"
    file.write_text(json.dumps({**GIVEN, "properties": {"a": "b"}}, indent=1))
    read = read_join_data(str(file), io.BytesIO())
    assert (read.addresses, read.properties, read.deadline) == (("r:1", "wss://s"), {"a": "b"}, None)
    with pytest.raises(ConfigError, match=r"--join: .*/missing: No such file"):
        read_join_data(str(tmp_path / "missing"), io.BytesIO())


def test_standard_input_is_read_to_the_end_of_the_object_only() -> None:
    stdin = io.BytesIO(json.dumps(GIVEN, indent=2).encode() + b"\nmore\n")
    assert read_join_data("-", stdin) == JOIN
    assert stdin.read() == b"more\n"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"addresses": []}, "addresses: must be a list"),
        ({"addresses": "r:1"}, "addresses: must be a list"),
        ({"addresses": ["r:1", ""]}, "addresses: must be a list"),
        ({"token": ""}, "token: must be a string"),
        ({"token": 5}, "token: must be a string"),
        ({"uid": None}, "uid: must be a string"),
        ({"properties": {"a": 1}}, "properties: must be a map of strings"),
        ({"idle_s": None}, "idle_s: must be a number"),
        ({"idle_s": True}, "idle_s: must be a number"),
        ({"idle_s": -1}, "idle_s: must be a number"),
        ({"deadline": float("nan")}, "deadline: must be a number"),
        ({"secret": 1}, "secret: unknown key"),
    ],
)
def test_invalid_values_are_refused(change: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parse_join_data({**GIVEN, **change})


@pytest.mark.parametrize("data", [b"", b"[]\n", b"{", b'{"a": "secret"', b"secret}\n", b"}" * 9000])
def test_data_that_is_no_object(data: bytes) -> None:
    with pytest.raises(ConfigError, match="expected one JSON object") as caught:
        read_join_data("-", io.BytesIO(data))
    assert "secret" not in str(caught.value)


def test_too_long_data() -> None:
    with pytest.raises(ConfigError, match=f"longer than {JOIN_DATA_MAX} bytes"):
        read_join_data("-", io.BytesIO(b" " * (JOIN_DATA_MAX + 1)))


def test_the_token_is_in_no_repr() -> None:
    assert "secret" not in repr(JOIN)
    assert "secret" not in repr(JOIN.settings(Settings()))


def test_settings() -> None:
    base = Settings(identity=IdentitySettings(name="n", uid="other"), properties={"kept": "1", "p": "old"})
    settings = JoinData(**{**vars(JOIN), "properties": {"p": "new"}}).settings(base)
    assert (settings.identity.name, settings.identity.uid) == ("n", "u")
    assert settings.properties == {"kept": "1", "p": "new"}
    assert not settings.server.enabled
    assert not settings.control.enabled
    assert [router.address for router in settings.client.routers] == ["r:1", "wss://s"]


@pytest.mark.parametrize(
    ("environ", "deadline", "expected"),
    [({}, 5.0, 5.0), ({SLURM_END: "7"}, None, 7.0), ({SLURM_END: "7"}, 5.0, 5.0), ({SLURM_END: "no"}, None, None)],
)
def test_the_deadline_of_an_allocation(environ: dict[str, str], deadline: float | None, expected: float | None) -> None:
    join = JoinData(**{**vars(JOIN), "deadline": deadline})
    assert join.limited(environ).deadline == expected
