from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pagent.config.load import load
from pagent.config.model import Settings
from pagent.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.yaml"


def refusal(*args: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*args)  # type: ignore[arg-type]
    return str(caught.value)


# --- the file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n", "null\n"])
def test_an_empty_file_is_the_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file) == load() == Settings()


def test_a_file_changes_the_keys_that_it_names(file: Path) -> None:
    file.write_text("server: {port: 8150, accept_tokens: [abc]}\njobs:\n  port_ownership: off\n")
    settings = load(file)
    assert settings.server.port == 8150
    assert settings.server.accept_tokens == ("abc",)
    assert settings.server.enabled
    assert settings.jobs.port_ownership == "off"


def test_an_error_names_the_key_and_the_file(file: Path) -> None:
    file.write_text("server: {prot: 1}")
    assert refusal(file) == f"server.prot: unknown key; did you mean server.port? (in {file})"


def test_a_file_is_checked_even_if_set_would_correct_it(file: Path) -> None:
    file.write_text("server: {port: yes}")
    assert refusal(file, ["server.port=1"]) == f"server.port: expected an integer, got a boolean (in {file})"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server:\n  port: 1\n  port: 2\n", "line 3: the key 'port' is twice in one map"),
        ("server: {}\n'server': {}\n", "line 2: the key 'server' is twice in one map"),
        ("server: {port: 1\n", "line 2: expected ',' or '}', but got '<stream end>'"),
        ("server:\n\tport: 1\n", "line 2: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document begins; a configuration is one"),
        ("client: {token: *swordfish}\n", "line 1: not plain data; quote a text that begins with '*', '&' or '!'"),
        ("client:\n  token: !swordfish x\n", "line 2: not plain data; quote"),
        ("identity: {name: !!python/object/apply:os.getpid []}\n", "line 1: not plain data; quote"),
        ("? [a]\n: 1\n", "line 1: not plain data; quote"),
        (
            "identity:\n  name: 2024-13-45\n",
            "line 2: the value looks like a date or a number, but is not valid",
        ),
        ("server: {port: 1" + "1" * 5000 + "}\n", "line 1: the value looks like a date or a number"),
        ("- a\n", "expected a map of sections at the top level"),
        ("text\n", "expected a map of sections at the top level"),
        ("a: \x07\n", "not a text file"),
        ("[" * 1000, "nested too deeply"),
    ],
)
def test_broken_yaml_is_refused_with_its_line_and_without_a_quote(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    assert refusal(file).startswith(f"{file}: {words}")
    assert "swordfish" not in refusal(file)


def test_a_binary_file(file: Path) -> None:
    file.write_bytes(b"a: \xff\xfe\xff")
    assert refusal(file) == f"{file}: not a text file, or one with characters that YAML does not allow"


def test_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    assert refusal(file) == f"{file}: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory"


def test_a_merged_map_may_be_overridden_and_used_again(file: Path) -> None:
    text = "server:\n  tls: &a {key: k, ca: c}\nclient:\n  tls: &b {<<: *a, ca: d}\n"
    file.write_text(text)
    settings = load(file)
    assert settings.server.tls.ca == Path("c")
    assert (settings.client.tls.key, settings.client.tls.ca) == (Path("k"), Path("d"))


@given(st.binary(max_size=40) | st.text(alphabet="server:port{}[],&*!'\"\n -#?|>%0", max_size=40).map(str.encode))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_taken_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    error = ""
    try:
        load(file)
    except ConfigError as exc:
        error = str(exc)
    assert error == "" or str(file) in error


# --- --set ------------------------------------------------------------------------------------------


def test_set_comes_after_the_file_and_the_last_one_wins(file: Path) -> None:
    file.write_text("server: {port: 1, interface: '::1'}")
    settings = load(file, ["server.port=2", "server.port = 3 "])
    assert settings.server.port == 3
    assert settings.server.interface == "::1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server.accept_tokens=['a=b', 'c']", ("a=b", "c")),
        ("server.accept_tokens=('a',)", ("a",)),
        ("server.accept_tokens=[]", ()),
    ],
)
def test_set_takes_python_literals(text: str, expected: tuple[str, ...]) -> None:
    assert load(None, ["server.accept_tokens=['old']", text]).server.accept_tokens == expected


def test_set_of_a_map_is_merged(file: Path) -> None:
    file.write_text("server: {interface: '::1', tls: {ca: c}}\nproperties: {a: '1'}")
    settings = load(file, ["server={'port': 1, 'tls': {'key': 'k'}}", "properties={'b': '2'}", "properties.c.d='3'"])
    assert (settings.server.interface, settings.server.port) == ("::1", 1)
    assert (settings.server.tls.ca, settings.server.tls.key) == (Path("c"), Path("k"))
    assert settings.properties == {"a": "1", "b": "2", "c.d": "3"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server.prot=1", "server.prot: unknown key; did you mean server.port?"),
        ("server={'prot': 1}", "server.prot: unknown key; did you mean server.port? (in --set)"),
        ("server=1", "server: expected a map, got an integer (in --set)"),
        ("server.port='1'", "server.port: expected an integer, got a string (in --set)"),
        ("server.port=None", "server.port: expected an integer, got null (in --set)"),
        ("identity.name=abc", "identity.name: abc is not a Python literal; a string needs quotes: --set"),
        ("identity.name=", "identity.name:  is not a Python literal"),
        ("identity.name=f()", "identity.name: f() is not a Python literal"),
        ("identity={[]: 1}", "identity: {[]: 1} is not a Python literal"),
        ("identity.name='\0'", "identity.name: '\0' is not a Python literal"),
        ("server.port", "--set server.port: expected key.path=value"),
        ("", "--set : expected key.path=value"),
    ],
)
def test_set_refused(text: str, words: str) -> None:
    assert refusal(None, [text]).startswith(words)


def test_set_nested_too_deeply() -> None:
    assert refusal(None, ["server.port=" + "(" * 100_000]).startswith("server.port: ")


@pytest.mark.parametrize(
    "text",
    [
        "client.token=swordfish",
        "client={'token': swordfish}",
        "server.accept_tokens=[swordfish]",
        "server.accept_tokens='swordfish'",
        "control.token:swordfish",
        "client.tokn='swordfish'",
        "control.token.x='swordfish'",
    ],
)
def test_no_error_of_set_quotes_a_secret(text: str) -> None:
    assert "swordfish" not in refusal(None, [text])


@pytest.mark.filterwarnings("error")
def test_an_invalid_escape_in_a_literal_causes_no_warning() -> None:
    assert load(None, [r"client.token='a\d'"]).client.token == r"a\d"


# --- --property -------------------------------------------------------------------------------------


def test_properties_come_last_and_are_strings(file: Path) -> None:
    file.write_text("properties: {a: file, b: file, c: file}")
    settings = load(file, ["properties.b='set'", "properties.c='set'"], ["c=5", "d=x=y", "e=", "имя=знач"])
    assert settings.properties == {"a": "file", "b": "set", "c": "5", "d": "x=y", "e": "", "имя": "знач"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abc", "--property abc: expected name=value"),
        ("=x", "properties.'': a name must not be empty and must not contain '=' (in --property)"),
        ("a=\udcff", "properties.a: must be valid Unicode text (in --property)"),
    ],
)
def test_property_refused(text: str, words: str) -> None:
    assert refusal(None, [], [text]) == words
