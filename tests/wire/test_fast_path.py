"""The fast path of messages: its results are those of msgpack, or it leaves the message to msgpack."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.wire import fast_path, messages, native

#: The decoders: in Python, and in C where it is compiled.
DECODERS = [fast_path.decode_common, *([native.decode_common] if native.decode_common else [])]
#: Messages of many kinds.
MESSAGES = [
    messages.call_start(300, 50, "http_request", ["uid", "GET", "/", [], [["a", "b"]]], {"k": 1}),
    messages.result(1, {"state": "RUNNING"}),
    messages.result(300, None),
    messages.failure(70000, 10, "m", "T", "t"),
    messages.stream_prefix(4, 200) + messages.bin_header(300) + bytes(300),
    messages.stream_prefix(8, 3) + messages.pack([["Content-Length", "3"]]),
    messages.hello(1, {"auth": {"uid": "u"}}),
]

STARTS = st.sampled_from([b"\x93\x04", b"\x93\x08", b"\x96\x02", b"\x95\x07"])


@given(
    st.binary(max_size=30)
    | st.builds(
        b"".join,
        st.tuples(STARTS, st.binary(max_size=30), st.sampled_from([b"", b"\x00\xc0"])),
    )
    | st.sampled_from(MESSAGES),
    st.integers(0, 40),
)
def test_the_fast_path_decodes_as_msgpack(payload: bytes, copied: int) -> None:
    found = fast_path.decode_common(payload, copied)
    for decode in DECODERS:
        assert decode(payload, copied) == found
        assert decode(memoryview(bytearray(payload)), copied) == found
    if found is not None and payload[0] != 0x96:
        assert found == (payload[1], *msgpack.unpackb(payload)[1:3])
        assert isinstance(found[2], bytes) == (len(payload) <= copied)


@pytest.mark.parametrize("kind", [4, 8])
@pytest.mark.parametrize("length", [0, 1, 255, 256, 65535, 65536])
@pytest.mark.parametrize("call_id", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
def test_every_form_of_a_stream_message_takes_the_fast_path(kind: int, length: int, call_id: int) -> None:
    payload = msgpack.packb([kind, call_id, bytes(length)])
    for decode in DECODERS:
        assert decode(payload, 1024) == (kind, call_id, bytes(length))


@pytest.mark.parametrize("call_id", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize(
    "value", [None, 1, b"", bytes(253), bytes(254), bytes(300), bytes(65_533), bytes(70_000), {"state": "RUNNING"}]
)
def test_the_result_of_a_successful_call_takes_the_fast_path(call_id: int, value: object) -> None:
    packed = msgpack.packb(value)
    message = messages.result(call_id, value)
    assert message == msgpack.packb([messages.RESULT, call_id, packed, 0, None])
    for decode in DECODERS:
        assert decode(message, 1024) == (messages.RESULT, call_id, packed)
    kind, found_id, outcome = messages.decode(message)
    assert (kind, found_id, outcome.packed, outcome.status, outcome.error) == (
        messages.RESULT,
        call_id,
        packed,
        0,
        None,
    )


@pytest.mark.parametrize("call_id", [-1, 2**64])
@pytest.mark.parametrize("encode", [fast_path.bin_result, *([native.bin_result] if native.bin_result else [])])
def test_no_result_has_such_an_id(encode: Callable[[int, bytes], bytes], call_id: int) -> None:
    with pytest.raises(OverflowError):
        encode(call_id, b"")


@pytest.mark.skipif(native.bin_result is None, reason="nothing is compiled")
@pytest.mark.parametrize("arguments", [(), (1,), (1, ""), ("", b""), (1, bytearray())])
def test_the_encoder_in_c_checks_its_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        native.bin_result(*arguments)  # type: ignore[misc, arg-type]


@pytest.mark.skipif(native.decode_common is None, reason="nothing is compiled")
@pytest.mark.parametrize("arguments", [(), (b"",), ("text", 1), (b"", "1")])
def test_the_decoder_in_c_checks_its_arguments(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        native.decode_common(*arguments)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("call_id", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
def test_an_id_is_encoded_as_by_msgpack(call_id: int) -> None:
    assert fast_path.join_with_id(b"before", call_id, b"after") == b"before" + msgpack.packb(call_id) + b"after"


@pytest.mark.parametrize("call_id", [-1, 2**64])
def test_an_id_that_is_not_an_unsigned_integer_of_64_bits_is_refused(call_id: int) -> None:
    with pytest.raises(OverflowError):
        fast_path.join_with_id(b"", call_id, b"")
