"""Check the JSON bodies of the router's API. `PayloadError`, with the reason, for an invalid one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.router_limits import API_BODY_MAX
from pagent.web.handover import body_pieces

Check = Callable[[Any], None]


class PayloadError(Exception):
    """The body of a request is not valid for its operation."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid request payload:\n{reason}")


async def read_payload(request: web.Request, check: Check) -> dict[str, Any]:
    """Return the body of a request as a checked map. PayloadError, RequestRefusedError."""
    body = await read_body(request)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError(f"not valid JSON: {error.msg} at character {error.pos}") from None
    check(payload)
    result: dict[str, Any] = payload
    return result


async def read_body(request: web.Request) -> bytes:
    """Return the body of a request. RequestRefusedError 413 if it is too long, 408 if it makes no progress."""
    body = bytearray()
    async for piece in body_pieces(request):
        body += piece
        if len(body) > API_BODY_MAX:
            raise RequestRefusedError(413, f"the body is longer than {API_BODY_MAX} bytes")
    return bytes(body)


# --- the words of checks ----------------------------------------------------------------------------


def typed(kind: type | tuple[type, ...], name: str) -> Check:
    kinds = kind if isinstance(kind, tuple) else (kind,)

    def check(value: Any) -> None:
        # bool is a subclass of int.
        if type(value) not in kinds:
            raise PayloadError(f"{_quoted(value)} is not of type {name}")

    return check


string: Final = typed(str, "'string'")
boolean: Final = typed(bool, "'boolean'")
integer: Final = typed(int, "'integer'")
string_or_null: Final = typed((str, type(None)), "'string', 'null'")


def list_of(item: Check, *, least: int = 0) -> Check:
    def check(value: Any) -> None:
        if type(value) is not list:
            raise PayloadError(f"{_quoted(value)} is not of type 'array'")
        if len(value) < least:
            raise PayloadError(f"{_quoted(value)} is too short")
        for each in value:
            item(each)

    return check


def map_of(item: Check) -> Check:
    def check(value: Any) -> None:
        if type(value) is not dict:
            raise PayloadError(f"{_quoted(value)} is not of type 'object'")
        for each in value.values():
            item(each)

    return check


def mapping(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise PayloadError(f"{_quoted(value)} is not of type 'object'")
        for name in required:
            if name not in value:
                raise PayloadError(f"{name!r} is a required property")
        for name, each in value.items():
            if name not in known:
                raise PayloadError(f"Additional properties are not allowed ({_quoted(name)} was unexpected)")
            known[name](each)

    return check


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _QUOTED_MAX else f"{text[:_QUOTED_MAX]}..."


#: Characters of a value that an error repeats.
_QUOTED_MAX: Final = 200


# --- the payloads -----------------------------------------------------------------------------------


def one_of(name: str) -> Check:
    def check(value: Any) -> None:
        if value != name:
            raise PayloadError(f"{_quoted(value)} is not one of [{name!r}]")

    return check


_CHOICES: Final[Mapping[str, Check]] = {
    "uid": mapping({"type": one_of("uid"), "uid": string}),
    "select": mapping({"type": one_of("select"), "uids": list_of(string, least=1)}),
    "address": mapping({"type": one_of("address"), "address": string, "token": string}),
}


def _choice(value: Any) -> None:
    kind = value.get("type") if type(value) is dict else None
    check = _CHOICES.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise PayloadError(f"{_quoted(value)} is not valid under any of the given schemas")
    check(value)


#: ``POST /jobs/create``
CREATE: Final = mapping({"name": string, "agent": _choice})

#: ``POST <job>/start``
START: Final = mapping(
    {"args": list_of(string), "env": map_of(string)},
    {"cwd": string_or_null, "port_expected_count": integer, "forward_stdout": boolean},
)

#: ``POST <job>/wsconnect/...``
WSCONNECT: Final = mapping({"url": string})
