"""Decode recorded messages of older peers, and encode them to the same bytes (docs/protocol.rst, "Messages")."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgpack
import pytest

from pagent.buffers import Bytes
from pagent.wire import messages

FOLDER = Path(__file__).resolve().parent.parent / "captures"

#: How a recording shows a bin that is cut short: its beginning, and how long it was.
_CUT = re.compile(r"([0-9a-f]*)\.\.\.\((\d+)\)")


def recorded(*, whole: bool) -> list[Any]:
    """Return the lines with the bytes of a message: all of them, or only their beginning."""
    found = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            entry = json.loads(line)
            if "hex" in entry and ("..." not in entry["hex"]) is whole:
                found.append(pytest.param(entry, id=f"{path.stem}:{number}"))
    return found


def same(value: Any, known: Any) -> bool:
    """Return whether a value is the recorded one: a bin as ``{"bin": hex}``, a long one cut short."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        if type(known) is not dict or known.keys() != {"bin"}:
            return False
        cut = _CUT.fullmatch(known["bin"])
        if cut is None:
            return bytes(value) == bytes.fromhex(known["bin"])
        return len(value) == int(cut[2]) and bytes(value).startswith(bytes.fromhex(cut[1]))
    if isinstance(value, list):
        return type(known) is list and len(value) == len(known) and all(map(same, value, known))
    if isinstance(value, dict):
        return type(known) is dict and list(value) == list(known) and all(same(value[key], known[key]) for key in value)
    return type(value) is type(known) and bool(value == known)


def body_of(message: list[Any]) -> Any:
    """Return the expected result of :func:`pagent.wire.messages.decode`, from another implementation."""
    kind, rest = message[0], message[2:]
    match kind:
        case messages.HANDSHAKE:
            return messages.Hello(*rest[0])
        case messages.HANDSHAKE_REPLY:
            return messages.Hello(*rest[0], rest[1])
        case messages.CALL_START:
            return _tuples(rest) if rest[0] == messages.BISTREAM else tuple(rest)
        case messages.RESULT:
            packed, status, error = rest
            return packed, status, tuple(error[:3]) if error else None
        case messages.REQUEST_MESSAGE | messages.RESPONSE_MESSAGE:
            return rest[0]
    assert rest == []
    return None


def decoded(payload: Bytes) -> tuple[int, int, Any]:
    """The decoded message, with the attributes of a call start and of an outcome as a tuple."""
    kind, call_id, body = messages.decode(payload)
    if isinstance(body, messages.Start):
        return kind, call_id, (body.call_type, body.method, body.args, body.kwargs)
    if isinstance(body, messages.Outcome):
        return kind, call_id, (body.packed, body.status, body.error)
    return kind, call_id, body


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if type(value) is list else value


def encoded(message: list[Any]) -> bytes:
    """The same message, made by ours."""
    kind, call_id, *rest = message
    match kind:
        case messages.HANDSHAKE:
            return messages.hello(call_id, rest[0][2])
        case messages.HANDSHAKE_REPLY:
            return messages.hello_reply(call_id, rest[0][1], rest[0][2])
        case messages.CALL_START:
            return messages.call_start(call_id, *rest)
        case messages.RESULT:
            packed, status, error = rest
            if error is None:
                return messages.result(call_id, msgpack.unpackb(packed))
            return messages.failure(call_id, status, *error)
        case messages.REQUEST_MESSAGE | messages.RESPONSE_MESSAGE:
            if isinstance(rest[0], bytes):
                return messages.stream_prefix(kind, call_id) + messages.bin_header(len(rest[0])) + rest[0]
            return messages.stream_prefix(kind, call_id) + messages.pack(rest[0])
    return messages.empty(kind, call_id)


def test_the_recordings_are_all_there() -> None:
    assert len(list(FOLDER.glob("*.jsonl"))) == 20
    assert len(recorded(whole=True)) + len(recorded(whole=False)) == 80
    assert len(recorded(whole=False)) == 4


@pytest.mark.parametrize("entry", recorded(whole=True))
def test_a_recorded_message_decodes_to_what_was_recorded(entry: dict[str, Any]) -> None:
    payload = bytes.fromhex(entry["hex"])
    message = msgpack.unpackb(payload)
    assert same(message, entry["message"])
    assert decoded(payload) == (message[0], message[1], body_of(message))
    assert decoded(bytearray(payload)) == decoded(payload)


@pytest.mark.parametrize("entry", recorded(whole=True))
def test_ours_has_the_very_bytes_of_a_recorded_message(entry: dict[str, Any]) -> None:
    assert encoded(msgpack.unpackb(bytes.fromhex(entry["hex"]))).hex() == entry["hex"]


@pytest.mark.parametrize("entry", recorded(whole=False))
def test_a_message_cut_short_has_the_head_that_ours_has(entry: dict[str, Any]) -> None:
    beginning = bytes.fromhex(entry["hex"].partition("...")[0])
    kind, call_id, known = entry["message"]
    cut = _CUT.fullmatch(known["bin"])
    assert cut is not None
    length = int(cut[2])
    head = messages.stream_prefix(kind, call_id) + messages.bin_header(length)
    assert beginning.startswith(head)
    whole = beginning + bytes(len(head) + length - len(beginning))
    found = messages.decode(whole)
    assert found[:2] == (kind, call_id)
    assert len(found[2]) == length
    assert bytes(found[2]).startswith(beginning[len(head) :])
