from __future__ import annotations

import re
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pagent.config.load import load_model, secrets_of_sets
from pagent.config.router import AcceptedToken, DialledAgent, RouterSettings
from pagent.config.schema import build, keys
from pagent.config.tokens import load_accepted
from pagent.errors import ConfigError
from tests.config.test_schema import nested, read

#: Each key that configurations of the original router have, with its default and a value of each type it may have.
EXISTING: dict[str, tuple[Any, list[Any]]] = {
    "identity.name": ("router", ["a router", ""]),
    "identity.uid": (None, [None, "a-uid"]),
    "server.enabled": (True, [True, False]),
    "server.interface": ("127.0.0.1", [None, "0.0.0.0", "::", "localhost", ""]),
    "server.port": (0, [0, 8160]),
    "server.accept_tokens": ((), [[], ["a"], ["a", "b"]]),
    "control.interface": ("127.0.0.1", [None, "127.0.0.1"]),
    "control.port": (0, [0, 8161]),
    "client.polling_delay": (5.0, [5, 5.0, 0.5]),
}


@pytest.mark.parametrize("key", EXISTING)
def test_keys_of_existing_configurations(key: str) -> None:
    default, values = EXISTING[key]
    assert read(RouterSettings(), key) == default
    for value in values:
        loaded = read(build(RouterSettings, nested(key, value)), key)
        if key == "server.accept_tokens":
            assert loaded == tuple(AcceptedToken(token) for token in value)
        else:
            assert loaded == value


def test_each_help_text_is_a_sentence() -> None:
    assert all(key.help.endswith(".") for key in keys(RouterSettings))


def test_a_token_may_be_good_for_some_agents_only() -> None:
    settings = build(RouterSettings, {"server": {"accept_tokens": ["any", {"token": "some", "uid": "node-*"}]}})
    assert settings.server.accept_tokens == (AcceptedToken("any"), AcceptedToken("some", "node-*"))
    assert "some" not in repr(settings)


def test_agents_to_dial() -> None:
    settings = build(RouterSettings, {"dial": {"agents": ["a:1", {"address": "b:2", "token_file": "/t"}]}})
    assert settings.dial.agents == (DialledAgent("a:1"), DialledAgent("b:2", Path("/t")))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"server": {"accept_tokens": [""]}}, "server.accept_tokens[0]: must not be empty"),
        ({"server": {"accept_tokens": [{"uid": "x"}]}}, "server.accept_tokens[0].token: is missing"),
        ({"server": {"accept_tokens": [5]}}, "server.accept_tokens[0]: expected a map, got an integer"),
        ({"server": {"accept_tokens": "x"}}, "server.accept_tokens: expected a list of maps, got a string"),
        ({"dial": {"agents": [{"x": 1}]}}, "dial.agents[0].x: unknown key"),
        ({"properties": {}}, "properties: unknown key"),
        ({"ready_wait": -1}, "ready_wait: must be at least 0.0"),
    ],
)  # fmt: skip
def test_refused(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(RouterSettings, tree)
    assert str(caught.value) == words


def test_set_of_a_secret_is_noticed() -> None:
    assert secrets_of_sets(RouterSettings, ["server.accept_tokens=['x']"]) == ["server.accept_tokens"]


def test_the_tokens_in_force_are_those_of_the_configuration_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("b\n# comment\na\n")
    settings = load_model(
        RouterSettings, None, ["server.accept_tokens=['a']", f"server.accept_tokens_file={str(file)!r}"]
    )
    assert load_accepted(settings) == (AcceptedToken("a"), AcceptedToken("b"))


def test_a_file_of_tokens_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    settings = load_model(RouterSettings, None, [f"server.accept_tokens_file={str(tmp_path / 'none')!r}"])
    with pytest.raises(ConfigError, match=r"^server.accept_tokens_file: .*none: No such file"):
        load_accepted(settings)


def test_every_section_has_a_help_text() -> None:
    assert all(field.metadata for field in fields(RouterSettings))


# --- the examples of docs/clusters.rst ----------------------------------------------------------------

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters.rst"
BLOCKS = (textwrap.dedent(block) for block in re.findall(r"::\n\n((?: +.*\n|\n)+)", CLUSTERS.read_text()))
EXAMPLES = [block for block in BLOCKS if "pools:" in block]


@pytest.mark.parametrize("text", EXAMPLES, ids=("slurm", "ssh", "systemd-run", "kubectl"))
def test_an_example_of_a_pool_is_valid(tmp_path: Path, text: str) -> None:
    """The key ``on`` is a name, although YAML 1.1 has it for true."""
    file = tmp_path / "router.yaml"
    file.write_text(text)
    (pool,) = load_model(RouterSettings, file).pools.values()
    assert pool.on.uid or pool.on.properties
