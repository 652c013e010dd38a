"""Read the JSON bodies of ``/v1``, and check their shape.

An error names the place: ``start.args[0] must be a string``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.web.payloads import read_body

#: Checks the value at a place of a body; RequestRefusedError 400 names both.
Shape = Callable[[str, Any], None]

_JSON: Final = "application/json"


async def read_json(request: web.Request, shape: Shape, *, empty: Any = None) -> dict[str, Any]:
    """Return the body of a request as a checked map. RequestRefusedError 400, 408, 413 or 415.

    ``empty``: the value for a request without a body; None if the request needs one.
    """
    if empty is not None and not request.body_exists:
        return dict(empty)
    if request.content_type != _JSON:
        raise RequestRefusedError(415, f"the body must be {_JSON}")
    body = await read_body(request)
    payload = _parsed(body)
    shape("", payload)
    result: dict[str, Any] = payload
    return result


def _parsed(body: bytes) -> Any:
    """Return the value that a body is. RequestRefusedError 400.

    orjson is the stricter reader; the other one sees names that stand twice.
    """
    try:
        orjson.loads(body)
        return json.loads(body, object_pairs_hook=_unique, parse_float=_number)
    except json.JSONDecodeError as error:  # the base of orjson's
        raise RequestRefusedError(400, f"not valid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise RequestRefusedError(400, "not valid JSON: it is nested too deeply") from None
    except ValueError:
        raise RequestRefusedError(400, "not valid JSON: a number is too long") from None


def _number(text: str) -> float:
    """Return a number. ``1.0`` is an integer in JSON Schema."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a map. Readers disagree on which of two equal names counts, so they are refused (RFC 8259 section 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestRefusedError(400, f"the name {_quoted(twice)} stands twice in one map")
    return found


def fault(place: str, text: str) -> RequestRefusedError:
    """Return the error for a value at a place."""
    return RequestRefusedError(400, f"{place or 'the body'} {text}")


def inside(place: str, name: str) -> str:
    """Return the place of a name in the map at a place."""
    return f"{place}.{name}" if place else name


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _QUOTED_MAX else f"{text[:_QUOTED_MAX]}..."


#: Characters of a value that an error repeats.
_QUOTED_MAX: Final = 100


# --- the words of shapes ----------------------------------------------------------------------------


def text(most: int | None = None, *, least: int = 0) -> Shape:
    """``most`` and ``least``: bytes of the string in UTF-8."""

    def check(place: str, value: Any) -> None:
        if type(value) is not str:
            raise fault(place, f"must be a string, not {_quoted(value)}")
        size = len(value.encode())
        if size < least:
            raise fault(place, "must not be empty")
        if most is not None and size > most:
            raise fault(place, f"must have at most {most} bytes, not {size}")

    return check


def boolean(place: str, value: Any) -> None:
    if type(value) is not bool:
        raise fault(place, f"must be true or false, not {_quoted(value)}")


def integer(least: int, most: int) -> Shape:
    def check(place: str, value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise fault(place, f"must be an integer from {least} to {most}, not {_quoted(value)}")

    return check


def number(least: float, most: float) -> Shape:
    def check(place: str, value: Any) -> None:
        if type(value) not in (int, float) or not least <= value <= most:
            raise fault(place, f"must be a number from {least:g} to {most:g}, not {_quoted(value)}")

    return check


def nullable(shape: Shape) -> Shape:
    def check(place: str, value: Any) -> None:
        if value is not None:
            shape(place, value)

    return check


def one_of(*values: str) -> Shape:
    def check(place: str, value: Any) -> None:
        if type(value) is not str or value not in values:
            raise fault(place, f"must be one of {', '.join(values)}, not {_quoted(value)}")

    return check


def list_of(item: Shape, *, most: int | None = None, least: int = 0) -> Shape:
    def check(place: str, value: Any) -> None:
        if type(value) is not list:
            raise fault(place, f"must be a list, not {_quoted(value)}")
        if len(value) < least or (most is not None and len(value) > most):
            raise fault(place, f"must have {_range(least, most)} entries, not {len(value)}")
        for index, each in enumerate(value):
            item(f"{place}[{index}]", each)

    return check


def _range(least: int, most: int | None) -> str:
    return f"at least {least}" if most is None else f"{least} to {most}"


def map_of(item: Shape, *, most: int | None = None) -> Shape:
    def check(place: str, value: Any) -> None:
        if type(value) is not dict:
            raise fault(place, f"must be a map, not {_quoted(value)}")
        if most is not None and len(value) > most:
            raise fault(place, f"must have at most {most} entries, not {len(value)}")
        for name, each in value.items():
            item(inside(place, name), each)

    return check


def mapping(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """Return the shape of a map with these names and no others."""
    known = {**required, **(optional or {})}

    def check(place: str, value: Any) -> None:
        if type(value) is not dict:
            raise fault(place, f"must be a map, not {_quoted(value)}")
        for name in required:
            if name not in value:
                raise fault(inside(place, name), "is missing")
        for name, each in value.items():
            if name not in known:
                raise fault(place, f"has the unknown name {_quoted(name)}; known are {', '.join(known)}")
            known[name](inside(place, name), each)

    return check


def any_of(word: str, **shapes: Shape) -> Shape:
    """Return the shape of a map with exactly one of these names, which decides its value. ``word``: for the error."""

    def check(place: str, value: Any) -> None:
        if type(value) is not dict or len(found := [name for name in shapes if name in value]) != 1:
            raise fault(place, f"must be {word}")
        shapes[found[0]](place, value)

    return check
