"""The conditions that an agent must meet: ``where`` of a new job (docs/api.rst, "Where a job is created")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from pagent.errors import RequestRefusedError
from pagent.relay.versions import parse_range, parse_version
from pagent.router_limits import WHERE_TEXT_MAX, WHERE_TEXTS_MAX

#: Returns whether the handshake data of an agent meets a condition.
Condition = Callable[[Mapping[str, Any]], bool]
#: Returns whether one value of an agent meets a condition.
_Test = Callable[[Any], bool]

#: Characters of a name or a value of an agent that is compared with a pattern: the time grows with both.
_MATCHED_MAX: Final = 1024
_GROUPS: Final = ("platform", "properties", "labels")
_JOBENV: Final = "jobenv"
#: The property by which an agent announces an environment for jobs: its guid, and its version.
_ENVIRONMENT: Final = re.compile(r"JOBENV__(.+?)__(\d+\.\d.*)", re.DOTALL | re.ASCII)


def parse_where(where: Mapping[str, Any]) -> Condition:
    """Return whether an agent meets all conditions of a map. RequestRefusedError 400 names the one that is wrong."""
    texts = _Texts()
    conditions = [_condition(name, value, texts) for name, value in where.items()]
    return lambda data: all(condition(data) for condition in conditions)


def _condition(name: str, value: Any, texts: _Texts) -> Condition:
    place = f"agent.where[{name!r:.100}]"
    if name == _JOBENV:
        return _environment(place, value, texts)
    group, dot, key = name.partition(".")
    if group not in _GROUPS or not dot or not key:
        raise _fault(place, "must be jobenv, platform.NAME, properties.NAME or labels.NAME")
    texts.take(place, key)
    if value == {"exists": False}:
        return lambda data: not any(True for _ in _values(data, group, key))
    test = _test(place, value, texts, globs=group != "labels")
    return lambda data: any(test(each) for each in _values(data, group, key))


def _values(data: Mapping[str, Any], group: str, key: str) -> Iterator[Any]:
    """Return the values of an agent under a name; of labels, which have no patterns, that of the name itself."""
    values = data.get(group)
    if not isinstance(values, Mapping):
        return
    for name, value in values.items():
        if name == key or (group != "labels" and _matches(name, key)):
            yield value


def _matches(found: Any, pattern: str) -> bool:
    return isinstance(found, str) and len(found) <= _MATCHED_MAX and fnmatchcase(found, pattern)


def _test(place: str, value: Any, texts: _Texts, *, globs: bool) -> _Test:
    match value:
        case str():
            texts.take(place, value)
            return _equals(value, globs=globs)
        case {"in": [*alternatives], **rest} if not rest:
            for each in alternatives:
                texts.take(f"{place}.in", each)
            tests = [_equals(each, globs=globs) for each in alternatives]
            return lambda found: any(test(found) for test in tests)
        case {"exists": True, **rest} if not rest:
            return lambda found: True
        case {"version": str(text), **rest} if not rest:
            texts.take(f"{place}.version", text)
            return _version(place, text)
    raise _fault(place, "must be a string, {'in': [strings]}, {'exists': true or false} or {'version': '>=2.1,<3'}")


def _equals(wanted: str, *, globs: bool) -> _Test:
    def test(found: Any) -> bool:
        return bool(found == wanted) or (globs and _matches(found, wanted))

    return test


def _version(place: str, text: str) -> _Test:
    try:
        is_in_range = parse_range(text)
    except ValueError as error:
        raise _fault(f"{place}.version", str(error)) from None

    def test(found: Any) -> bool:
        version = parse_version(found) if isinstance(found, str) else None
        return version is not None and is_in_range(version)

    return test


def _environment(place: str, value: Any, texts: _Texts) -> Condition:
    """Return the condition that a client library of the original router had: the same major version, at least this."""
    match value:
        case {"guid": str(guid), "version": str(text), **rest} if not rest:
            texts.take(f"{place}.guid", guid)
            texts.take(f"{place}.version", text)
        case _:
            raise _fault(place, "must be {'guid': string, 'version': string}")
    least = parse_version(text)
    if least is None:
        raise _fault(f"{place}.version", f"{text!r:.100} is not a version")

    def met(data: Mapping[str, Any]) -> bool:
        properties = data.get("properties")
        for name in properties if isinstance(properties, Mapping) else ():
            found = _ENVIRONMENT.fullmatch(str(name))
            if found is None or found[1] != guid or (version := parse_version(found[2])) is None:
                continue
            if version.major == least.major and version >= least:
                return True
        return False

    return met


class _Texts:
    """Counts the texts that agents are compared with, and checks each. RequestRefusedError 400."""

    def __init__(self) -> None:
        self._count = 0

    def take(self, place: str, text: Any) -> None:
        if not isinstance(text, str):
            raise _fault(place, f"must be a string, not {text!r:.100}")
        if len(text) > WHERE_TEXT_MAX:
            raise _fault(place, f"must have at most {WHERE_TEXT_MAX} characters")
        self._count += 1
        if self._count > WHERE_TEXTS_MAX:
            raise _fault("agent.where", f"must have at most {WHERE_TEXTS_MAX} names and values")


def _fault(place: str, words: str) -> RequestRefusedError:
    return RequestRefusedError(400, f"{place} {words}")
