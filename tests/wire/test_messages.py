"""Messages and their bytes, with msgpack as the oracle."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.errors import ProtocolError
from pagent.limits import MESSAGE_ELEMENTS_MAX
from pagent.wire import messages
from pagent.wire.messages import SenselessMessageError, decode

KINDS = range(messages.HANDSHAKE, messages.CALLEE_CREDIT + 1)
STREAM_KINDS = (messages.REQUEST_MESSAGE, messages.RESPONSE_MESSAGE)
EMPTY_KINDS = (messages.CALL_CANCEL, messages.REQUEST_CLOSE, messages.RESPONSE_CLOSE)
CREDIT_KINDS = (messages.CALLER_CREDIT, messages.CALLEE_CREDIT)

ids = st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32])

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=15,
)


def unpack(payload: bytes) -> Any:
    return msgpack.unpackb(payload, strict_map_key=False)


def decoded_result(payload: bytes) -> tuple[int, int, Any]:
    """Return a decoded RESULT, with the attributes of its outcome as a tuple."""
    kind, call_id, outcome = decode(payload)
    assert isinstance(outcome, messages.Outcome)
    return kind, call_id, (outcome.packed, outcome.status, outcome.error)


# --- round trips ----------------------------------------------------------------------------------


@given(st.sampled_from(STREAM_KINDS), ids, values.filter(lambda value: value is not None))
def test_a_stream_value_comes_back(kind: int, call_id: int, value: Any) -> None:
    payload = messages.stream_prefix(kind, call_id) + messages.pack(value)
    assert payload == msgpack.packb([kind, call_id, value])
    assert decode(payload) == (kind, call_id, value)


@given(st.sampled_from(STREAM_KINDS), ids, st.sampled_from([0, 1, 255, 256, 1024, 1025, 65535, 65536, 70000]))
def test_a_bin_is_framed_as_msgpack_frames_it(kind: int, call_id: int, length: int) -> None:
    data = bytes(length)
    payload = messages.stream_prefix(kind, call_id) + messages.bin_header(length) + data
    assert payload == msgpack.packb([kind, call_id, data])
    for whole in (payload, bytearray(payload)):
        assert decode(whole) == (kind, call_id, data)


def test_a_large_bin_is_not_copied() -> None:
    payload = messages.stream_prefix(8, 1) + messages.bin_header(5000) + bytes(5000)
    assert isinstance(body := decode(payload)[2], memoryview)
    assert body.obj is payload


@given(ids, st.sampled_from(sorted(messages.CALL_TYPES)), st.text(), st.lists(values, max_size=3), st.data())
def test_a_call_comes_back(call_id: int, call_type: int, method: str, args: list[Any], data: st.DataObject) -> None:
    kwargs = data.draw(st.dictionaries(st.text(max_size=5), values, max_size=3))
    payload = messages.call_start(call_id, call_type, method, args, kwargs)
    assert unpack(payload) == [2, call_id, call_type, method, args, kwargs]
    found = decode(payload)
    assert found[:2] == (2, call_id)
    assert (found[2].call_type, found[2].method) == (call_type, method)
    assert as_lists([found[2].args, found[2].kwargs]) == [args, kwargs]


def as_lists(value: Any) -> Any:
    """Arrays in the start of a bistream call are tuples."""
    if isinstance(value, dict):
        return {key: as_lists(inner) for key, inner in value.items()}
    return [as_lists(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def test_the_arguments_of_a_small_bistream_start_can_be_hashed() -> None:
    payload = messages.call_start(5, messages.BISTREAM, "http_request", ["job", [["a", "b"]]], {})
    assert decode(payload)[2].args == ("job", (("a", "b"),))


@given(ids, values)
def test_a_result_is_packed_twice_and_comes_back(call_id: int, value: Any) -> None:
    payload = messages.result(call_id, value)
    assert payload == msgpack.packb([7, call_id, msgpack.packb(value), 0, None])
    assert decoded_result(payload) == (7, call_id, (msgpack.packb(value), 0, None))
    assert messages.unpack_result(decode(payload)[2].packed) == value


@given(ids, st.sampled_from([10, 20, 30]), st.text(min_size=1), st.text() | st.none(), st.text() | st.none())
def test_an_error_comes_back(call_id: int, status: int, text: str, cause: str | None, detail: str | None) -> None:
    payload = messages.failure(call_id, status, text, cause, detail)
    assert payload == msgpack.packb([7, call_id, None, status, [text, cause, detail, None]])
    assert decoded_result(payload) == (7, call_id, (None, status, (text, cause, detail)))


@given(ids, st.sampled_from(EMPTY_KINDS), st.sampled_from(CREDIT_KINDS), st.integers(1, 2**64 - 1))
def test_the_small_ones_come_back(call_id: int, kind: int, credit_kind: int, amount: int) -> None:
    assert messages.empty(kind, call_id) == msgpack.packb([kind, call_id])
    assert decode(messages.empty(kind, call_id)) == (kind, call_id, None)
    assert messages.credit(credit_kind, call_id, amount) == msgpack.packb([credit_kind, call_id, amount])
    assert decode(messages.credit(credit_kind, call_id, amount)) == (credit_kind, call_id, amount)


@given(ids, values)
def test_handshakes_come_back(call_id: int, data: Any) -> None:
    assert messages.hello(call_id, data) == msgpack.packb([1, call_id, [1, None, data]])
    assert decode(messages.hello(call_id, data)) == (1, call_id, (1, None, data, 0))
    assert messages.hello_reply(call_id, "c", data) == msgpack.packb([6, call_id, [1, "c", data], 0, None])
    assert decode(messages.hello_reply(call_id, "c", data)) == (6, call_id, (1, "c", data, 0))


@pytest.mark.parametrize("form", [">B", "\xcc>B", "\xcd>H", "\xce>I", "\xcf>Q", "\xd0>b", "\xd1>h", "\xd2>i", "\xd3>q"])
@pytest.mark.parametrize("tail", [b"\xc4\x01x", b"\xa1x", b"\xc5\x00\x01x", b"\xc6\x00\x00\x00\x01x"])
def test_an_id_or_a_length_may_be_encoded_in_any_form_that_msgpack_has(form: str, tail: bytes) -> None:
    """Encoders of other languages do not all choose the shortest."""
    tag = form[:-2].encode("latin-1")
    payload = b"\x93\x04" + tag + struct.pack(form[-2:], 5) + tail
    assert decode(payload) == (4, 5, "x" if tail[0] == 0xA1 else b"x")
    assert decode(b"\xdc\x00\x03" + payload[1:]) == decode(payload)


def test_a_lone_surrogate_becomes_a_readable_escape() -> None:
    assert messages.unpack_result(decode(messages.result(1, ["a\udcff"]))[2].packed) == ["a\\udcff"]
    assert decode(messages.stream_prefix(8, 1) + messages.pack("\ud800x")) == (8, 1, "\\ud800x")
    assert decode(messages.failure(1, 10, "\udcff"))[2].error[0] == "\\udcff"


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, -(2**63) - 1, [lambda: None]])
def test_a_value_without_a_form_is_refused_and_does_not_spoil_the_next(value: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        messages.pack(["begun", value])
    assert messages.pack([1]) == b"\x91\x01"


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        (b"", 64),
        (b"x" * 64, 64),
        (b"x" * 65, 65),
        (memoryview(bytes(99)), 99),
        (bytearray(70), 70),
        ("", 64),
        ("x" * 65, 65),
        ("ü" * 65, 130),
        (["x" * 900], 64),
        ({}, 64),
        (7, 64),
        (True, 64),
    ],
)
def test_what_a_message_counts_against_credit(value: Any, cost: int) -> None:
    assert messages.cost(value) == cost


# --- faults ---------------------------------------------------------------------------------------


def packed(*message: Any) -> bytes:
    data: bytes = msgpack.packb(list(message))
    return data


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x93",
        b"\x93\x04",
        b"\x93\x04\xcd\x01",
        b"\x93\x04\x01",
        b"\x93\x04\x01\xc4",
        b"\x93\x04\x01\xc4\x05abc",
        b"\x93\x04\x01\xc4\x01ab",
        b"\x93\x04\x01\xc5\x00",
        b"\x93\x04\x01\xc6\xff\xff\xff\xff",
        b"\x93\x04\x01\xa3ab",
        b"\x93\x04\xff\xc4\x00",
        b"\x93\x04\xa1x\xc4\x00",
        b"\x93\x04\xc0\xc4\x00",
        b"\x93\x04\x01\xa1\xff",
        b"\x92\x03\x01\x00",
        b"\x93\x04\x01\xd4\x01x",
        b"\x93\x04\x01\xc7\x00\x01",
        b"\x93\x04\x01\xd6\xff\x00\x00\x00\x00",
        b"\x93\x04\x01\xdd\xff\xff\xff\xff",
        b"\x93\x04\x01\xdf\xff\xff\xff\xff",
        b"\x93\x04\x01\x81\x90\x01",
        b"\x91" * 2000,
        packed(),
        packed(3),
        packed(0, 1),
        packed(12, 1),
        packed(-1, 1),
        packed("3", 1),
        packed(True, 1),
        packed(3.0, 1),
        packed(None, 1),
        packed(3, -1),
        packed(3, "1"),
        packed(3, None),
        packed(3, True),
        packed(3, 1.0),
        msgpack.packb({3: 1}),
        msgpack.packb("text"),
        msgpack.packb(3),
    ],
)
def test_what_is_no_message_is_1007(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(payload)
    assert caught.value.code == 1007
    assert len(str(caught.value)) < 300


START = (20, "m", [], {})


@pytest.mark.parametrize(
    "message",
    [
        (2, 5),
        (2, 5, *START[:3]),
        (2, 5, *START, 1),
        (2, 5, 10, "m", [], {}),
        (2, 5, 21, "m", [], {}),
        (2, 5, "20", "m", [], {}),
        (2, 5, None, "m", [], {}),
        (2, 5, [20], "m", [], {}),
        (2, 5, 20.0, "m", [], {}),
        (2, 5, 20, b"m", [], {}),
        (2, 5, 20, None, [], {}),
        (2, 5, 20, "m", None, {}),
        (2, 5, 20, "m", {}, {}),
        (2, 5, 20, "m", [], None),
        (2, 5, 20, "m", [], []),
        (2, 5, 20, "m", [], {b"a": 1}),
        (2, 5, 20, "m", [], {1: 1}),
        (3, 5, None),
        (4, 5),
        (4, 5, None),
        (4, 5, b"x", 1),
        (5, 5, 0),
        (8, 5, None),
        (9, 5, 0),
        (1, 5),
        (1, 5, None),
        (1, 5, [1, None]),
        (1, 5, [1, None, {}], 0),
        (6, 5, [1, "c", {}]),
        (6, 5, {}, 0, None),
        (7, 5, b"\xc0", 0),
        (7, 5, None, 0, None),
        (7, 5, 17, 0, None),
        (7, 5, "\xc0", 0, None),
        (7, 5, None, "10", ["m", None, None, None]),
        (7, 5, None, True, ["m", None, None, None]),
        (7, 5, None, 10, "error"),
        (7, 5, None, 10, []),
        (7, 5, None, 10, ["m", 1, None, None]),
        (7, 5, None, 10, [b"m", None, None, None]),
        (10, 5),
        (10, 5, 0),
        (10, 5, -1),
        (10, 5, "1"),
        (11, 5, None),
        (11, 5, True),
        (11, 5, 1.5),
    ],
)
def test_what_makes_no_sense_names_its_call(message: tuple[Any, ...]) -> None:
    with pytest.raises(SenselessMessageError) as caught:
        decode(packed(*message))
    assert (caught.value.kind, caught.value.call_id) == (message[0], 5)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ((7, 5, None, 10, [None, None, None, None]), (None, 10, ("no message", None, None))),
        ((7, 5, None, 10, None), (None, 10, ("no message", None, None))),
        ((7, 5, b"\x01", 10, ["m", "T", "t", "trace"]), (None, 10, ("m", "T", "t"))),
        ((7, 5, None, 99, ["m", "T", "t"]), (None, 99, ("m", "T", "t"))),
        ((7, 5, None, 0, ["m", None, None, None]), (None, 0, ("m", None, None))),
    ],
)
def test_errors_in_forms_that_peers_may_have(message: tuple[Any, ...], outcome: tuple[Any, ...]) -> None:
    assert decoded_result(packed(*message)) == (7, 5, outcome)


@pytest.mark.parametrize("inner", [b"", b"\xc1", b"\x01\x02", b"\x91" * 2000, b"\xd4\x01x"])
def test_a_result_whose_inner_value_cannot_be_read(inner: bytes) -> None:
    outcome = decode(packed(7, 5, inner, 0, None))[2]
    with pytest.raises(ValueError, match="cannot be read"):
        messages.unpack_result(outcome.packed)


@pytest.mark.parametrize("shape", ["flat", "nested", "maps"])
def test_elements_are_counted_over_the_whole_message(shape: str) -> None:
    def value(count: int) -> Any:
        if shape == "flat":
            return [[0] * (count // 4 - 1)] * 4
        return [[{} if shape == "maps" else []] * (count // 4 - 1)] * 4

    assert decode(packed(8, 5, value(MESSAGE_ELEMENTS_MAX - 100)))[:2] == (8, 5)
    with pytest.raises(SenselessMessageError, match="too many elements") as caught:
        decode(packed(8, 5, value(MESSAGE_ELEMENTS_MAX + 2000)))
    assert (caught.value.kind, caught.value.call_id) == (8, 5)
    result = messages.result(5, [[]] * 65_000)
    assert messages.unpack_result(decode(result)[2].packed) == [[]] * 65_000


def outcome_of(payload: bytes) -> Any:
    try:
        return decode(payload)
    except ProtocolError as error:
        return error.code
    except SenselessMessageError as error:
        return (error.kind, error.call_id)


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.binary(max_size=20).map(b"\x93\x04".__add__))
def test_garbage_raises_nothing_else(payload: bytes) -> None:
    assert outcome_of(bytearray(payload)) == outcome_of(payload)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 12) | values, max_size=7))
def test_any_array_is_a_message_or_refused(message: list[Any]) -> None:
    found = outcome_of(msgpack.packb(message))
    nameable = (
        len(message) >= 2
        and all(type(number) is int for number in message[:2])
        and message[0] in KINDS
        and message[1] >= 0
    )
    assert (found != 1007) is nameable
    if nameable:
        assert list(found[:2]) == message[:2]


_honest = st.sampled_from(
    [
        messages.call_start(300, 50, "http_request", ["uid", "GET", "/", [], [["a", "b"]]], {"k": 1}),
        messages.result(1, {"state": "RUNNING"}),
        messages.failure(70000, 10, "m", "T", "t"),
        messages.stream_prefix(4, 200) + messages.bin_header(300) + bytes(300),
        messages.stream_prefix(8, 3) + messages.pack([["Content-Length", "3"]]),
        messages.hello(1, {"auth": {"uid": "u"}}),
    ]
)


@settings(max_examples=300)
@given(_honest, st.data())
def test_one_wrong_byte_or_a_cut_raises_nothing_else(payload: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(len(payload), 60) - 1))
    outcome_of(payload[:at] + bytes((data.draw(st.integers(0, 255)),)) + payload[at + 1 :])
    assert outcome_of(payload[:at]) == 1007
