"""Load settings from a YAML file, then ``--set``, then ``--property`` (docs/contract.rst, "Configuration").

Each source is checked together with those before it, so that an error names the source that it is in. No error quotes a
value of the file, or of a key that holds a secret.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from pagent.config.model import Settings
from pagent.config.schema import build, resolve, secrets_in
from pagent.errors import ConfigError

S = TypeVar("S")


def load(
    path: Path | None = None,
    sets: Sequence[str] = (),
    properties: Sequence[str] = (),
    *,
    token_file: Path | None = None,
) -> Settings:
    """Return the settings of an agent: :func:`load_model`."""
    return load_model(Settings, path, sets, properties, token_file=token_file)


def load_model(
    model: type[S],
    path: Path | None = None,
    sets: Sequence[str] = (),
    properties: Sequence[str] = (),
    *,
    token_file: Path | None = None,
) -> S:
    """Return the settings of a ``model`` from all sources; ``token_file`` is ``server.accept_tokens_file``.

    Raises `ConfigError`, which names the key, and the line for broken YAML.
    """
    tree: dict[Any, Any] = {}

    def check(source: str) -> None:
        try:
            build(model, tree)
        except ConfigError as exc:
            raise ConfigError(f"{exc} (in {source})") from None

    if path is not None:
        tree = read_map(path)
        check(str(path))
    for text in sets:
        tree = _merge(tree, _parse_set(model, text))
        check("--set")
    if token_file is not None:
        tree = _merge(tree, {"server": {"accept_tokens_file": str(token_file)}})
        check("--token-file")
    for text in properties:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--property {text}: expected name=value")
        tree = _merge(tree, {"properties": {name: value}})
        check("--property")
    return build(model, tree)


def secrets_of_sets(model: type, sets: Sequence[str]) -> list[str]:
    """Return the keys of those options ``--set`` that carry a secret, which other users can read there."""
    return [name for text in sets for name in secrets_in(model, _parse_set(model, text))]


def _merge(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Return ``base`` updated with ``over``: maps are merged key by key, other values are replaced."""
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        result[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def read_list(text: str, where: str) -> list[tuple[Any, tuple[int, int]]]:
    """Return the items of a YAML text that is one list, each with its first line and the one after its last.

    ConfigError, which begins with ``where``. An empty text is an empty list.
    """
    try:
        node = yaml.compose(text, _Loader)
        values = [] if node is None else yaml.load(text, _Loader)
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"{where}: {_explain(exc)}") from None
    if node is None or values is None:
        return []
    if not isinstance(node, yaml.SequenceNode) or not isinstance(values, list):
        raise ConfigError(f"{where}: expected a list of maps at the top level")
    starts = [item.start_mark.line for item in node.value]
    return [
        (value, (start, _last_line(item) + 1)) for value, start, item in zip(values, starts, node.value, strict=True)
    ]


def _last_line(node: yaml.Node) -> int:
    """Return the last line of a node. The end of a block is where the next thing begins: comments come before it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return int(node.end_mark.line)
    children = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
    return max([node.start_mark.line, *map(_last_line, children)])


# --- --set ------------------------------------------------------------------------------------------


def _parse_set(model: type, text: str) -> dict[Any, Any]:
    """Return ``a.b=literal`` as nested maps."""
    dotted, equals, literal = text.partition("=")
    dotted = dotted.strip()
    if not equals:
        # After a wrong separator there may be a token, so only the key is quoted.
        (name,) = re.findall(r"^[\w.]*", dotted)
        raise ConfigError(f"--set {name}: expected key.path=value, with a Python literal")
    target = resolve(model, dotted)
    try:
        with warnings.catch_warnings():
            # A doubtful escape ('C:\d') is a warning that would print the text.
            warnings.simplefilter("ignore")
            value = ast.literal_eval(literal.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        quoted = "the value" if target.secret else literal.strip()
        raise ConfigError(f"{dotted}: {quoted} is not a Python literal; {_hint(dotted, literal.strip())}") from None
    *parents, last = target.path
    tree: dict[Any, Any] = {last: value}
    for parent in reversed(parents):
        tree = {parent: tree}
    return tree


def _hint(dotted: str, literal: str) -> str:
    """Return a hint for a text that is not a literal."""
    if (word := {"true": "True", "false": "False", "null": "None"}.get(literal.lower())) is not None:
        return f"write {word}, as in Python"
    if literal.startswith(("[", "{")):
        return "strings in it need quotes, as in ['a', 'b'] or {'a': 'b'}"
    return f"a string needs quotes: --set \"{dotted}='...'\""


# --- the file ---------------------------------------------------------------------------------------


_BOOLEAN: Final = "tag:yaml.org,2002:bool"
_TEXT: Final = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """`SafeLoader` that also refuses a map with the same key twice, and takes ``on`` for a name where it is a key."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before construction, which adds merged maps (`<<`) to the node: their keys may be there already.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                continue
            if name.tag == _BOOLEAN:  # YAML 1.1 has yes, no, on and off for true and false
                name.tag = _TEXT
            identity = (name.tag, name.value)
            if identity in seen:
                raise ConfigError(f"line {name.start_mark.line + 1}: the key {name.value!r} is twice in one map")
            seen.add(identity)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError:
            # A date such as 2024-13-45, an integer too long to convert. The text of the error quotes the value.
            raise ConfigError(
                f"line {node.start_mark.line + 1}: the value looks like a date or a number, but is not valid; quote it"
            ) from None


def read_map(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            tree = yaml.load(file, _Loader)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: {_explain(exc)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a map of sections at the top level")
    return tree


def _explain(exc: yaml.YAMLError) -> str:
    """Return the fault and its line, without a quote from the file."""
    if not isinstance(exc, yaml.MarkedYAMLError):
        return "not a text file, or one with characters that YAML does not allow"
    mark = exc.problem_mark or exc.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    if isinstance(exc, (yaml.scanner.ScannerError, yaml.parser.ParserError)):
        return f"{line}{exc.problem}"
    if exc.context and "single document" in exc.context:
        return f"{line}a second document begins; a configuration is one"
    return f"{line}not plain data; quote a text that begins with '*', '&' or '!'"
