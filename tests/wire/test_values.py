"""Values in msgpack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagent.wire import native
from pagent.wire.values import UNPACK_FAULTS, pack, unpack

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32])
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | TEXT | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
@example([["Content-Length", "12"], ("a", "ü" * 500)])
@example({"a": [None, True, False, b"\0" * 70_000], "b": "x" * 70_000})
@example([["x"]] * 70_000)
@example({str(number): number for number in range(70_000)})
def test_values_are_packed_as_by_msgpack(value: Any) -> None:
    packed = msgpack.packb(value, use_bin_type=True)
    assert pack(value) == packed
    if native.pack_common is not None:
        assert native.pack_common(value) in (packed, None)


@pytest.mark.skipif(native.pack_common is None, reason="nothing is compiled")
@pytest.mark.parametrize("length", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_form_of_a_common_value_is_packed_in_c(length: int) -> None:
    assert native.pack_common is not None
    for value in ("x" * length, bytes(length), [None] * length, ("a",) * length, dict.fromkeys(range(length)), length):
        assert native.pack_common(value) == msgpack.packb(value, use_bin_type=True)


@given(
    VALUES.map(lambda value: msgpack.packb(value, use_bin_type=True)) | st.binary(max_size=30),
    st.integers(0, 60),
    st.binary(max_size=2),
    st.booleans(),
)
@example(b"\x82\xa1a\x01\xa1a\x02", 0, b"", True)
@example(b"\x81\x90\x01", 0, b"", True)
@example(b"\x92\xa1\xff\x01", 0, b"", True)
@example(b"\xdd\xff\xff\xff\xff", 0, b"", False)
def test_values_are_unpacked_as_by_msgpack(data: bytes, at: int, inserted: bytes, use_list: bool) -> None:
    data = data[:at] + inserted + data[at:]
    expected = outcome(lambda: msgpack.unpackb(data, use_list=use_list, max_ext_len=0, strict_map_key=False))
    assert expected == outcome(lambda: unpack(data, use_list=use_list))
    if native.unpack_common is not None:
        assert native.unpack_common(memoryview(data), 1000, use_list) in (expected, NotImplemented)


def outcome(function: Callable[[], Any]) -> Any:
    """Return the result; ValueError for each fault, because data with two faults may raise either."""
    try:
        return function()
    except UNPACK_FAULTS:
        return ValueError


@pytest.mark.skipif(native.unpack_common is None, reason="nothing is compiled")
@pytest.mark.parametrize("length", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_form_of_a_common_value_is_unpacked_in_c(length: int) -> None:
    assert native.unpack_common is not None
    for value in (
        "x" * length,
        bytes(length),
        [None] * length,
        dict.fromkeys(range(length)),
        length,
        [True, {"a": ""}],
    ):
        assert native.unpack_common(msgpack.packb(value, use_bin_type=True), 70_000, True) == value
    assert native.unpack_common(msgpack.packb([["a"], 1]), 3, False) == (("a",), 1)
    assert native.unpack_common(msgpack.packb([["a"], 1]), 2, False) is NotImplemented


@pytest.mark.skipif(native.unpack_common is None, reason="nothing is compiled")
@pytest.mark.parametrize("arguments", [(), (b"", 1), ("text", 1, True), (b"", "1", True)])
def test_the_unpacking_in_c_checks_its_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        native.unpack_common(*arguments)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, bytearray(b"a"), "\ud800", {"a": [-1]}, [[[[[[[[[1]]]]]]]]]])
def test_what_c_does_not_pack_is_packed_by_msgpack(value: Any) -> None:
    assert native.pack_common is None or native.pack_common(value) is None
    assert pack(value) == msgpack.packb(value, use_bin_type=True, unicode_errors="backslashreplace")


@pytest.mark.parametrize("value", [object(), {1, 2}, [object()]])
def test_a_value_without_a_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        pack(value)


def test_an_integer_above_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        pack([2**64])
