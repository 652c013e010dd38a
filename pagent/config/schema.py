"""Convert raw maps to checked settings by the dataclasses of `model`, and list all keys.

The types of the fields decide the checks, so a new key needs only a new field of the model. Every error is a
`ConfigError` whose text begins with the dotted key. No error quotes a value: some values are secrets.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pagent.config.model import RULE, Rule
from pagent.errors import ConfigError

S = TypeVar("S")

_FOUND = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "a map",
    list: "a list",
    tuple: "a list",
}


@dataclass(frozen=True)
class Key:
    """A key as documented: ``default`` is written as JSON, which is YAML too."""

    name: str
    kind: str
    default: str
    help: str


@dataclass(frozen=True)
class Resolved:
    """A dotted key: the keys of the nested maps, and whether it or a key below it is a secret."""

    path: tuple[str, ...]
    secret: bool


def build(cls: type[S], raw: object, where: str = "") -> S:
    """Return an instance of the dataclass ``cls`` from a raw map. A key that the map has not keeps its default.

    A field without a default must be in the map.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where or 'the top level'}: expected a map, got {_found(raw)}")
    fields = _fields(cls)
    values = {}
    for name, value in raw.items():
        if name not in fields:
            raise ConfigError(_unknown(cls, where, name))
        kind, rule = fields[name]
        values[name] = _value(kind, rule, value, _join(where, name))
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, field.name)}: is missing")
    return cls(**values)


def resolve(cls: Any, dotted: str) -> Resolved:
    """Resolve a dotted key of ``--set``. After a map of strings the rest is one name, which may have dots."""
    parts = dotted.split(".")
    for index, part in enumerate(parts):
        fields = _fields(cls)
        if part not in fields:
            raise ConfigError(_unknown(cls, ".".join(parts[:index]), part))
        kind, rule = fields[part]
        last = index == len(parts) - 1
        if last:
            return Resolved(tuple(parts), rule.secret or _has_secret(kind))
        if get_origin(kind) is Mapping:
            return Resolved((*parts[: index + 1], ".".join(parts[index + 1 :])), rule.secret)
        if not dataclasses.is_dataclass(kind):
            raise ConfigError(f"{_quoted(dotted)}: unknown key; {'.'.join(parts[: index + 1])} has no keys of its own")
        cls = kind
    raise AssertionError("str.split gives at least one part")


def secrets_in(cls: Any, raw: Mapping[Any, Any], where: str = "") -> Iterator[str]:
    """Yield the dotted keys of a raw map that hold a secret which is not empty."""
    fields = _fields(cls)
    for name, value in raw.items():
        if name in fields and value:
            kind, rule = fields[name]
            if rule.secret:
                yield _join(where, name)
            elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
                yield from secrets_in(kind, value, _join(where, name))


def keys(cls: Any, where: str = "") -> Iterator[Key]:
    """Yield every key with its default and its help text, in the order of the model."""
    for field in dataclasses.fields(cls):
        kind, rule = _fields(cls)[field.name]
        name = _join(where, field.name)
        if dataclasses.is_dataclass(kind):
            yield from keys(kind, name)
        else:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            yield Key(name, _words(kind), json.dumps(default), rule.help)


# --- values -----------------------------------------------------------------------------------------


def _value(kind: Any, rule: Rule, value: object, where: str) -> Any:
    kind, optional = _strip_none(kind)
    if optional and value is None:
        return None
    if get_origin(kind) is types.UnionType:
        kind = _alternative(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, where)
    origin = get_origin(kind) or kind
    return _CHECKS[origin](kind, rule, value, where)


def _bool(kind: Any, rule: Rule, value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _mismatch(kind, value, where)


def _int(kind: Any, rule: Rule, value: object, where: str) -> int:
    # bool is a subclass of int, and `port: yes` is a mistake.
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(rule, value, where)
    raise _mismatch(kind, value, where)


def _float(kind: Any, rule: Rule, value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _mismatch(kind, value, where)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where}: must be a finite number")
    return _in_range(rule, number, where)


def _str(kind: Any, rule: Rule, value: object, where: str) -> str:
    text = _text(rule, value, where)
    try:
        text.encode()
    except UnicodeEncodeError:
        # No handshake could carry such a string: msgpack and JSON are UTF-8.
        raise ConfigError(f"{where}: must be valid Unicode text") from None
    return text


def _path(kind: Any, rule: Rule, value: object, where: str) -> Path:
    text = _text(rule, value, where)
    if not text:
        # Path("") would be the current folder.
        raise ConfigError(f"{where}: must not be empty; null stands for none")
    return Path(text)


def _time(kind: Any, rule: Rule, value: object, where: str) -> datetime:
    """Check a time. YAML has read one that is not quoted; without an offset it is in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{where}: must be a time such as 2030-12-31T23:59:59Z") from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise _mismatch(kind, value, where)
    return value.replace(tzinfo=value.tzinfo or UTC)


def _list(kind: Any, rule: Rule, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(kind, value, where)
    inner = get_args(kind)[0]
    return tuple(_item(inner, rule, item, f"{where}[{index}]") for index, item in enumerate(value))


def _item(kind: Any, rule: Rule, value: object, where: str) -> Any:
    if kind is str:
        return _str(str, rule, value, where)
    if rule.short is not None and isinstance(value, str):
        value = {rule.short: _str(str, rule, value, where)}
    return build(kind, value, where)


def _properties(kind: Any, rule: Rule, value: object, where: str) -> dict[str, Any]:
    """Check a map of strings, which become variables in the environment of a process, or of maps."""
    if not isinstance(value, dict):
        raise _mismatch(kind, value, where)
    inner = get_args(kind)[1]
    result: dict[str, Any] = {}
    for name, text in value.items():
        if not isinstance(name, str):
            raise ConfigError(f"{_join(where, name)}: a name must be a string, got {_found(name)}; quote it")
        if not name or "=" in name:
            raise ConfigError(f"{_join(where, name)}: a name must not be empty and must not contain '='")
        _str(str, rule, name, _join(where, name))
        place = _join(where, name)
        result[name] = _str(str, rule, text, place) if inner is str else build(inner, text, place)
    return result


def _choice(kind: Any, rule: Rule, value: object, where: str) -> str:
    choices: tuple[str, ...] = get_args(kind)
    if value is False and "off" in choices:
        # An unquoted `off` is a boolean in YAML 1.1.
        return "off"
    if isinstance(value, str) and value in choices:
        return value
    raise ConfigError(f"{where}: must be one of {', '.join(choices)}")


_CHECKS: dict[Any, Callable[[Any, Rule, object, str], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
    datetime: _time,
    tuple: _list,
    Mapping: _properties,
    Literal: _choice,
}

N = TypeVar("N", int, float)


def _in_range(rule: Rule, value: N, where: str) -> N:
    low = rule.minimum is None or value >= rule.minimum
    high = rule.maximum is None or value <= rule.maximum
    if low and high:
        return value
    if rule.maximum is None:
        raise ConfigError(f"{where}: must be at least {rule.minimum}")
    raise ConfigError(f"{where}: must be from {rule.minimum} to {rule.maximum}")


def _text(rule: Rule, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(str, value, where)
    if rule.nonempty and not value:
        raise ConfigError(f"{where}: must not be empty")
    if "\0" in value:
        raise ConfigError(f"{where}: must not contain a NUL character")
    return value


# --- the model as types -----------------------------------------------------------------------------


def _fields(cls: Any) -> dict[str, tuple[Any, Rule]]:
    hints = get_type_hints(cls)
    return {field.name: (hints[field.name], field.metadata[RULE]) for field in dataclasses.fields(cls)}


def _strip_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    inner = [option for option in get_args(kind) if option is not type(None)]
    return (inner[0], True) if len(inner) == 1 else (kind, False)


def _alternative(kind: Any, value: object) -> Any:
    """Return the one of two types, a list and another, that a value is checked against."""
    is_list = isinstance(value, (list, tuple))
    return next(option for option in get_args(kind) if (get_origin(option) is tuple) == is_list)


def _has_secret(kind: Any) -> bool:
    if not dataclasses.is_dataclass(kind):
        return False
    return any(rule.secret or _has_secret(inner) for inner, rule in _fields(kind).values())


def _words(kind: Any) -> str:
    inner, optional = _strip_none(kind)
    if get_origin(inner) is types.UnionType:
        return " or ".join(map(_words, get_args(inner)))
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        Path: "path",
        datetime: "time",
        tuple: "list of strings",
        Mapping: "map of strings",
    }
    if dataclasses.is_dataclass(inner):
        return "map or null" if optional else "map"
    origin = get_origin(inner) or inner
    words = "|".join(get_args(inner)) if origin is Literal else names[origin]
    if origin is tuple and get_args(inner)[0] is not str:
        words = "list of maps"
    if origin is Mapping and get_args(inner)[1] is not str:
        words = "map of maps"
    return f"{words} or null" if optional else words


# --- the texts of errors ----------------------------------------------------------------------------


def _mismatch(kind: Any, value: object, where: str) -> ConfigError:
    words = _words(kind)
    article = "an" if words.startswith("i") else "a"
    # YAML does not read `2`, `1.0`, `yes` and dates as strings.
    hint = "; quote it" if kind is str and value is not None and not isinstance(value, (dict, list, tuple)) else ""
    return ConfigError(f"{where}: expected {article} {words}, got {_found(value)}{hint}")


def _unknown(cls: Any, where: str, name: object) -> str:
    near = difflib.get_close_matches(str(name), _fields(cls), n=1)
    hint = f"; did you mean {_join(where, near[0])}?" if near else ""
    return f"{_join(where, name)}: unknown key{hint}"


def _found(value: object) -> str:
    return _FOUND.get(type(value), f"a {type(value).__name__}")


def _join(where: str, name: object) -> str:
    quoted = _quoted(name)
    return f"{where}.{quoted}" if where else quoted


def _quoted(name: object) -> str:
    """Return a key for a message: quoted and escaped unless it is printable."""
    text = str(name)
    return text if text and text.isprintable() and not text.isspace() else repr(text)
