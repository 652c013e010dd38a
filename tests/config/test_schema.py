from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.config.model import DialledRouter, Settings
from pagent.config.schema import build, keys, resolve
from pagent.errors import ConfigError


def nested(dotted: str, value: object) -> dict[str, Any]:
    *parents, last = dotted.split(".")
    tree: dict[str, Any] = {last: value}
    for parent in reversed(parents):
        tree = {parent: tree}
    return tree


def read(settings: object, dotted: str) -> object:
    for name in dotted.split("."):
        settings = getattr(settings, name)
    return settings


def test_an_empty_map_is_all_defaults() -> None:
    assert build(Settings, {}) == Settings()


#: Each key that existing configurations have, with a value of each type that it may have there.
EXISTING: dict[str, list[Any]] = {
    "identity.name": ["an agent", ""],
    "identity.uid": [None, "a-uid"],
    "server.enabled": [True, False],
    "server.interface": [None, "0.0.0.0", "::", "localhost", ""],
    "server.port": [0, 8150],
    "server.accept_tokens": [[], ["a"], ["a", "b"]],
    "client.enabled": [True, False],
    "client.address": ["", "host:1", "ws://host:1"],
    "client.token": ["default", ""],
    "client.exit_on_fail": [True, False],
    "client.reconnect_delay": [10, 10.0, 0, 0.5],
    "control.enabled": [True, False],
    "control.interface": [None, "127.0.0.1"],
    "control.port": [0, 8151],
    "jobs.root": [None, "/var/tmp"],
    "jobs.background_threads": [1, 8],
    "properties": [{}, {"name": "value"}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in EXISTING.items() for value in values])
def test_keys_of_existing_configurations(key: str, value: object) -> None:
    loaded = read(build(Settings, nested(key, value)), key)
    assert (str(loaded) if isinstance(loaded, Path) else list(loaded) if isinstance(loaded, tuple) else loaded) == value


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("identity.name", "", ""),
        ("identity.uid", None, None),
        ("server.enabled", False, False),
        ("server.port", 0, 0),
        ("server.port", 65535, 65535),
        ("server.accept_tokens", ["a", "b"], ("a", "b")),
        ("server.accept_tokens", ("a",), ("a",)),
        ("client.address", "a:1", "a:1"),
        ("client.address", ["a:1", {"address": "b:1"}], (DialledRouter("a:1"), DialledRouter("b:1"))),
        ("server.tls.certificate", "cert.pem", Path("cert.pem")),
        ("client.tls.ca", None, None),
        ("client.reconnect_delay", 3, 3.0),
        ("client.reconnect_delay", 0.25, 0.25),
        ("jobs.root", "sandboxes", Path("sandboxes")),
        ("jobs.port_ownership", "enforce", "enforce"),
        # YAML 1.1 reads an unquoted `off` as a boolean.
        ("jobs.port_ownership", False, "off"),
        ("jobs.max_output_bytes", None, None),
        ("jobs.max_output_bytes", 1, 1),
        ("proxy.spool_max", 0, 0),
        ("proxy.memory_max", None, None),
        ("proxy.memory_max", 1 << 30, 1 << 30),
        ("properties", {"a.b c": "", "ключ": "значение"}, {"a.b c": "", "ключ": "значение"}),
    ],
)
def test_taken(key: str, value: object, result: object) -> None:
    settings = build(Settings, nested(key, value))
    assert read(settings, key) == result
    assert type(read(settings, key)) is type(result)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("identity.name", 5, "identity.name: expected a string, got an integer; quote it"),
        ("identity.name", None, "identity.name: expected a string, got null"),
        ("identity.name", ["x"], "identity.name: expected a string, got a list"),
        ("identity.name", "a\0b", "identity.name: must not contain a NUL character"),
        ("identity.name", "\ud800", "identity.name: must be valid Unicode text"),
        ("identity.uid", "", "identity.uid: must not be empty"),
        ("server.enabled", 1, "server.enabled: expected a boolean, got an integer"),
        ("server.enabled", "yes", "server.enabled: expected a boolean, got a string"),
        ("server.port", True, "server.port: expected an integer, got a boolean"),
        ("server.port", 80.0, "server.port: expected an integer, got a number"),
        ("server.port", "80", "server.port: expected an integer, got a string"),
        ("server.port", -1, "server.port: must be from 0 to 65535"),
        ("control.port", 65536, "control.port: must be from 0 to 65535"),
        ("server.accept_tokens", "abc", "server.accept_tokens: expected a list of strings, got a string"),
        ("client.address", 5, "client.address: expected a string, got an integer; quote it"),
        ("client.address", [5], "client.address[0]: expected a map, got an integer"),
        ("client.address", [""], "client.address[0].address: must not be empty"),
        ("client.address", [{"token_file": "x"}], "client.address[0].address: is missing"),
        ("server.accept_tokens", ["a", ""], "server.accept_tokens[1]: must not be empty"),
        ("server.accept_tokens", [1], "server.accept_tokens[0]: expected a string, got an integer; quote it"),
        ("server.tls.key", "", "server.tls.key: must not be empty; null stands for none"),
        ("server.tls.key", 1, "server.tls.key: expected a string, got an integer"),
        ("server.tls", None, "server.tls: expected a map, got null"),
        ("server", [], "server: expected a map, got a list"),
        ("client.reconnect_delay", -0.5, "client.reconnect_delay: must be at least 0"),
        ("client.reconnect_delay", True, "client.reconnect_delay: expected a number, got a boolean"),
        ("client.reconnect_delay", float("nan"), "client.reconnect_delay: must be a finite number"),
        ("client.reconnect_delay", 10**400, "client.reconnect_delay: must be a finite number"),
        ("control.token", "", "control.token: must not be empty"),
        ("control.allowed_hosts", [""], "control.allowed_hosts[0]: must not be empty"),
        ("jobs.background_threads", 0, "jobs.background_threads: must be at least 1"),
        ("jobs.port_ownership", "on", "jobs.port_ownership: must be one of off, warn, enforce"),
        ("jobs.port_ownership", True, "jobs.port_ownership: must be one of off, warn, enforce"),
        ("jobs.max_output_bytes", 0, "jobs.max_output_bytes: must be at least 1"),
        ("jobs.max_output_bytes", "1k", "jobs.max_output_bytes: expected an integer, got a string"),
        ("proxy.memory_max", 0, "proxy.memory_max: must be at least 1048576"),
        ("proxy.spool_max", None, "proxy.spool_max: expected an integer, got null"),
        ("properties", ["a"], "properties: expected a map of strings, got a list"),
        ("properties.gpu", 2, "properties.gpu: expected a string, got an integer; quote it"),
        ("properties", {2: "x"}, "properties.2: a name must be a string, got an integer; quote it"),
        ("properties", {"": "x"}, "properties.'': a name must not be empty"),
        ("properties", {"a=b": "x"}, "properties.a=b: a name must not be empty and must not contain '='"),
        ("properties", {"a\0": "x"}, r"properties.'a\x00': must not contain a NUL character"),
        ("properties", {"a": "x\0"}, "properties.a: must not contain a NUL character"),
        ("server.prot", 1, "server.prot: unknown key; did you mean server.port?"),
        ("sevrer.port", 1, "sevrer: unknown key; did you mean server?"),
        ("server.tls.cert", "x", "server.tls.cert: unknown key"),
        ("zzz", 1, "zzz: unknown key"),
        ("", 1, "'': unknown key"),
        ("a\x1b[31m", 1, r"'a\x1b[31m': unknown key"),
    ],
)
def test_refused_by_name(key: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Settings, nested(key, value))
    assert str(caught.value).startswith(words)


def test_the_top_level_must_be_a_map() -> None:
    with pytest.raises(ConfigError, match="the top level: expected a map, got a list"):
        build(Settings, [])


@pytest.mark.parametrize("key", ["server.accept_tokens", "client.token", "client.proxy", "control.token"])
def test_secrets_are_in_no_repr_and_no_error(key: str) -> None:
    secret = "swordfish"
    value = [secret] if key == "server.accept_tokens" else secret
    assert secret not in repr(build(Settings, nested(key, value)))
    for wrong in ([secret, 5], {secret: secret}, [[secret]], secret + "\0", [secret + "\0"], [secret + "\ud800"]):
        with pytest.raises(ConfigError) as caught:
            build(Settings, nested(key, wrong))
        assert secret not in str(caught.value)


KEYS = list(keys(Settings))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def outcome(tree: object) -> Settings | str:
    try:
        return build(Settings, tree)
    except ConfigError as exc:
        return str(exc)


@given(key=st.sampled_from(KEYS), value=ANYTHING)
def test_any_value_is_taken_or_refused_by_name(key: Any, value: object) -> None:
    result = outcome(nested(key.name, value))
    assert result.startswith(key.name) if isinstance(result, str) else isinstance(result, Settings)


@given(ANYTHING)
def test_any_tree_is_taken_or_refused(tree: object) -> None:
    assert outcome(tree)


def test_resolve_follows_sections_and_takes_the_rest_as_the_name_of_a_property() -> None:
    assert resolve(Settings, "server.tls.key").path == ("server", "tls", "key")
    assert resolve(Settings, "properties.a.b").path == ("properties", "a.b")
    assert resolve(Settings, "properties").path == ("properties",)


def test_resolve_knows_where_secrets_are() -> None:
    secret = {key.name for key in KEYS if resolve(Settings, key.name).secret}
    assert secret == {"server.accept_tokens", "client.token", "client.proxy", "control.token"}
    assert {
        name for name in ("server", "client", "control", "jobs", "server.tls") if resolve(Settings, name).secret
    } == {
        "server",
        "client",
        "control",
    }


@pytest.mark.parametrize(
    ("dotted", "words"),
    [
        ("server.prot", "server.prot: unknown key; did you mean server.port?"),
        ("server.port.x", "server.port.x: unknown key; server.port has no keys of its own"),
        ("", "'': unknown key"),
        ("server.", "server.'': unknown key"),
    ],
)
def test_resolve_names_an_unknown_key(dotted: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Settings, dotted)
    assert str(caught.value) == words
