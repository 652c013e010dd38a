"""WebSocket frames: against wsproto as the oracle, at every split, and every error of RFC 6455."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from pagent.errors import ProtocolError
from pagent.limits import FRAMES_AT_ONCE
from pagent.wire import frames, native
from pagent.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, VIEW_LEAST, FrameDecoder

KEY = b"\x37\xfa\x21\x3d"

#: How the decoders of a test decode.
WAYS = ["python"] if native.whole_frames is None else ["python", "native"]
_in_c = True


@pytest.fixture(params=WAYS, scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Decode with and without the routine in C, which reports no faults."""
    global _in_c
    _in_c = request.param == "native"
    yield request.param
    _in_c = True


def frame(head: int, payload: bytes = b"", *, masked: bool = False, length: bytes | None = None) -> bytes:
    """A frame by hand: ``head`` is FIN, the reserved bits and the opcode."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes((size,))
        elif size < 0x1_0000:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    if not masked:
        return bytes((head,)) + length + payload
    body = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))
    return bytes((head, length[0] | 0x80)) + length[1:] + KEY + body


def decoder(*, masked: bool = False, max_message: int = 1 << 20, direct: bool = False) -> FrameDecoder:
    made = FrameDecoder(masked=masked, max_message=max_message, in_c=_in_c)
    made.direct = direct
    return made


def plain(messages: Iterable[tuple[int, Any]]) -> list[tuple[int, Any]]:
    return [(opcode, bytes(p) if isinstance(p, (bytes, bytearray, memoryview)) else p) for opcode, p in messages]


def decoded(
    decoder: FrameDecoder, pieces: Iterable[bytes], messages: list[tuple[int, Any]] | None = None
) -> list[tuple[int, Any]]:
    """Return all messages of some pieces, also in ``messages``, because the ProtocolError after them is raised."""
    messages = [] if messages is None else messages
    for piece in pieces:
        messages += decoder.feed(piece)
        decoder.check()
        while decoder.more:
            messages += decoder.feed(b"")
            decoder.check()
    return plain(messages)


def as_socket(decoder: FrameDecoder, data: bytes, read: int) -> list[tuple[int, Any]]:
    """As a link receives: into the decoder's own place where it has one."""
    messages: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        space = decoder.space()
        count = min(read, len(data) - at, read if space is None else len(space))
        if space is None:
            messages += decoder.feed(data[at : at + count])
        else:
            space[:count] = data[at : at + count]
            messages += decoder.filled(count)
        at += count
    return plain(messages)


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


# --- against the oracle ---------------------------------------------------------------------------

payloads = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]).map(lambda size: b"\xa5" * size),
)
events = st.one_of(
    st.tuples(st.just(BINARY), payloads),
    st.tuples(st.just(TEXT), st.text(max_size=100)),
    st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
)


def wsproto_event(opcode: int, payload: Any, final: bool = True) -> Any:
    if opcode == BINARY:
        return BytesMessage(payload, message_finished=final)
    if opcode == TEXT:
        return TextMessage(payload, message_finished=final)
    return Ping(payload) if opcode == PING else Pong(payload)


@given(messages=st.lists(events, max_size=8), masked=st.booleans(), direct=st.booleans(), data=st.data())
def test_what_wsproto_sends_is_read_at_any_split(
    messages: list[tuple[int, Any]], masked: bool, direct: bool, data: st.DataObject
) -> None:
    sender = Connection(ConnectionType.CLIENT if masked else ConnectionType.SERVER)
    blob = b"".join(sender.send(wsproto_event(*message)) for message in messages)
    step = data.draw(st.integers(1, max(1, len(blob))))
    assert as_socket(decoder(masked=masked, direct=direct), blob, step) == messages


@given(
    opcode=st.sampled_from([TEXT, BINARY]),
    parts=st.lists(st.text(max_size=20), min_size=1, max_size=6),
    masked=st.booleans(),
    step=st.integers(1, 40),
)
def test_fragments_of_wsproto_with_pings_between(opcode: int, parts: list[str], masked: bool, step: int) -> None:
    sender = Connection(ConnectionType.CLIENT if masked else ConnectionType.SERVER)
    blob = b""
    for at, part in enumerate(parts):
        payload: Any = part if opcode == TEXT else part.encode()
        blob += sender.send(wsproto_event(opcode, payload, at == len(parts) - 1))
        blob += sender.send(Ping(b"%d" % at))
    whole: Any = "".join(parts) if opcode == TEXT else "".join(parts).encode()
    pings = [(PING, b"%d" % at) for at in range(len(parts))]
    assert as_socket(decoder(masked=masked), blob, step) == [*pings[:-1], (opcode, whole), pings[-1]]


@given(payload=payloads, masked=st.booleans())
def test_what_we_send_is_read_by_wsproto(payload: bytes, masked: bool) -> None:
    receiver = Connection(ConnectionType.SERVER if masked else ConnectionType.CLIENT)
    if masked:
        data = frames.masked_frame(BINARY, payload[:7], payload[7:])
    else:
        data = frames.frame_header(BINARY, len(payload)) + payload
    receiver.receive_data(data)
    got = b"".join(event.data for event in receiver.events() if isinstance(event, BytesMessage))
    assert got == payload


@given(code=st.sampled_from([1000, 1001, 1002, 1007, 1009, 3000, 4999]), reason=st.text(max_size=300))
def test_a_close_of_ours_is_read_by_wsproto(code: int, reason: str) -> None:
    payload = frames.close_payload(code, reason)
    receiver = Connection(ConnectionType.CLIENT)
    receiver.receive_data(frames.frame_header(CLOSE, len(payload)) + payload)
    (event,) = receiver.events()
    assert isinstance(event, CloseConnection)
    assert event.code == code
    assert reason.startswith(event.reason or "")
    assert len(payload) <= 125


# --- every split ----------------------------------------------------------------------------------

MIXED = [
    (0x80 | BINARY, b"one"),
    (TEXT, "grün".encode()[:3]),  # cut inside a character
    (0x80 | PING, b"between"),
    (CONTINUATION, b""),
    (0x80 | CONTINUATION, "grün".encode()[3:]),
    (0x80 | BINARY, b"\x00" * 130),
    (BINARY, b""),
    (CONTINUATION, b"left"),
    (0x80 | PONG, b""),
    (0x80 | CONTINUATION, b"right"),
    (0x80 | TEXT, b""),
    (0x80 | CLOSE, struct.pack("!H", 1000) + b"bye"),
]
MIXED_READ = [
    (BINARY, b"one"),
    (PING, b"between"),
    (TEXT, "grün"),
    (BINARY, b"\x00" * 130),
    (PONG, b""),
    (BINARY, b"leftright"),
    (TEXT, ""),
    (CLOSE, (1000, "bye")),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_every_split_gives_the_same(masked: bool, direct: bool) -> None:
    blob = b"".join(frame(head, payload, masked=masked) for head, payload in MIXED)
    assert decoded(decoder(masked=masked, direct=direct), [blob]) == MIXED_READ
    assert decoded(decoder(masked=masked, direct=direct), bytewise(blob)) == MIXED_READ
    for cut in range(1, len(blob)):
        assert decoded(decoder(masked=masked, direct=direct), [blob[:cut], blob[cut:]]) == MIXED_READ
    for read in range(1, 200, 7):
        assert as_socket(decoder(masked=masked, direct=direct), blob, read) == MIXED_READ


# --- views ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x82, 0x82, 0x82, 0x81, 0x89, 0x02, 0x80]),
            st.sampled_from([0, 1, 3, 125, 126, 127, 65535, 65536]) | st.integers(VIEW_LEAST - 2, VIEW_LEAST + 2),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.integers(1, 200_000),
)
def test_views_equal_copies(shapes: list[tuple[int, int]], masked: bool, read: int) -> None:
    """Of a stream of any frames, those that break the rules included, in a buffer that is written over at once."""
    data = b"".join(
        frame(head, (bytes(range(48, 74)) * (size // 26 + 1))[: min(size, 125 if head & 8 else size)], masked=masked)
        for head, size in shapes
    )
    copying, viewing = decoder(masked=masked), decoder(masked=masked)
    buffer = bytearray(read)
    for at in range(0, len(data), read):
        piece = data[at : at + read]
        buffer[: len(piece)] = piece
        expected, error = attempt(copying, piece, views=False)
        found, same = attempt(viewing, memoryview(buffer)[: len(piece)], views=True)
        assert (found, same) == (expected, error)
        if error is not None:
            return


def attempt(decoder: FrameDecoder, data: Any, *, views: bool) -> tuple[list[tuple[int, Any]], tuple[int, str] | None]:
    try:
        found = plain(decoder.feed(data, views=views))
    except ProtocolError as error:
        return [], (error.code, str(error))
    try:
        decoder.check()
    except ProtocolError as error:
        return found, (error.code, str(error))
    return found, None


def test_large_payloads_are_views_and_small_ones_are_copies(way: str) -> None:
    data = b"".join(
        frame(0x82, bytes([fill]) * size, masked=True) for fill, size in ((1, 100), (2, VIEW_LEAST), (3, 9))
    )
    buffer = bytearray(data)
    (_, small), (_, large), (_, last) = decoder(masked=True).feed(memoryview(buffer), views=True)
    buffer[:] = bytes(len(buffer))
    assert (bytes(small), bytes(last)) == (b"\1" * 100, b"\3" * 9)
    assert bytes(large) == (bytes(VIEW_LEAST) if way == "native" else b"\2" * VIEW_LEAST)


@pytest.mark.parametrize(
    "arguments", [(), (b"", True, 1, 0), (b"", True, 1, 0, 9, ()), (b"\x82\0", False, 1, 1, 9, [])]
)
def test_the_routine_refuses_what_it_cannot_work_on(arguments: tuple[Any, ...]) -> None:
    if native.whole_frames is None:
        pytest.skip("nothing is compiled")
    with pytest.raises((TypeError, BufferError)):
        native.whole_frames(*arguments)


@pytest.mark.parametrize("kind", [0x82, 0x81, 0x89, 0x8A])
@pytest.mark.parametrize("masked", [False, True])
def test_so_many_frames_at_once_and_the_others_by_the_next_call(kind: int, masked: bool, way: str) -> None:
    one = frame(kind, masked=masked)
    made = decoder(masked=masked)
    counts = [len(made.feed(one * 3 * FRAMES_AT_ONCE + frame(0x82, b"last", masked=masked)[:3]))]
    while made.more:
        counts.append(len(made.feed(b"")))
    assert sum(counts) == 3 * FRAMES_AT_ONCE
    assert max(counts) <= FRAMES_AT_ONCE
    assert plain(made.feed(frame(0x82, b"last", masked=masked)[3:])) == [(BINARY, b"last")]


def test_frames_that_make_no_message_count_as_well(way: str) -> None:
    made = decoder()
    found = made.feed(frame(TEXT) + frame(CONTINUATION) * 2 * FRAMES_AT_ONCE + frame(0x80 | CONTINUATION, b"end"))
    assert found == []
    turns = 1
    while made.more:
        found += made.feed(b"")
        turns += 1
    assert found == [(TEXT, "end")]
    assert turns == 3


def test_new_frames_come_after_those_that_were_left(way: str) -> None:
    made = decoder()
    found = made.feed(frame(0x82, b"a") * (FRAMES_AT_ONCE + 1))
    found += made.feed(frame(0x82, b"b"))
    assert not made.more
    assert b"".join(bytes(payload) for _, payload in found) == b"a" * (FRAMES_AT_ONCE + 1) + b"b"


# --- errors ---------------------------------------------------------------------------------------

ERRORS = {
    "reserved bit 1": (1002, frame(0xC2, b"x")),
    "reserved bit 2": (1002, frame(0xA2, b"x")),
    "reserved bit 3": (1002, frame(0x92, b"x")),
    "reserved bit of a control frame": (1002, frame(0xC9)),
    **{f"opcode {opcode}": (1002, frame(0x80 | opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": (1002, frame(PING)),
    "fragmented close": (1002, frame(CLOSE)),
    "long ping": (1002, frame(0x80 | PING, b"x" * 126)),
    "long close": (1002, frame(0x80 | CLOSE, b"\x03\xe8" + b"x" * 124)),
    "continuation of nothing": (1002, frame(0x80 | CONTINUATION, b"x")),
    "a message inside a message": (1002, frame(TEXT, b"a") + frame(0x80 | TEXT, b"b")),
    "a binary message inside one of text": (1002, frame(TEXT, b"a") + frame(0x80 | BINARY, b"b")),
    "a wasteful length of 16 bits": (1002, frame(0x82, b"x", length=b"\x7e\x00\x01")),
    "a wasteful length of 64 bits": (1002, frame(0x82, b"x", length=b"\x7f" + struct.pack("!Q", 0xFFFF))),
    "a length with the highest bit": (1002, frame(0x82, b"", length=b"\x7f" + struct.pack("!Q", 1 << 63))),
    "a message that is too long": (1009, frame(0x82, b"", length=b"\x7f" + struct.pack("!Q", (1 << 20) + 1))),
    "fragments that are too long": (1009, frame(BINARY, b"x" * 600_000) + frame(CONTINUATION, b"x" * 600_000)),
    "half a close code": (1002, frame(0x88, b"\x03")),
    **{
        f"close code {code}": (1002, frame(0x88, struct.pack("!H", code)))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a close reason that is no text": (1007, frame(0x88, b"\x03\xe8\xce\xba\xff")),
    "no text": (1007, frame(0x81, b"\xff")),
    "a surrogate": (1007, frame(0x81, b"\xed\xa0\x80")),
    "an overlong slash": (1007, frame(0x81, b"\xc0\xaf")),
    "beyond unicode": (1007, frame(0x81, b"\xf4\x90\x80\x80")),
    "half a character at the end": (1007, frame(0x81, b"a\xce")),
    "half a character at the end of fragments": (1007, frame(TEXT, b"a\xce") + frame(0x80)),
    "no text in a second fragment": (1007, frame(TEXT, b"a") + frame(CONTINUATION, b"\xff")),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_their_code_at_every_split(name: str) -> None:
    code, data = ERRORS[name]
    good = frame(0x82, b"before")
    for pieces in ([good + data], bytewise(good + data)) if len(data) < 1000 else ([good + data],):
        messages: list[tuple[int, Any]] = []
        with pytest.raises(ProtocolError) as caught:
            decoded(decoder(), pieces, messages)
        assert caught.value.code == code
        assert plain(messages)[0] == (BINARY, b"before")


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4999])
def test_close_codes_that_may_be_sent(code: int) -> None:
    assert decoded(decoder(), [frame(0x88, struct.pack("!H", code))]) == [(CLOSE, (code, ""))]


def test_a_close_without_a_code() -> None:
    assert decoded(decoder(), [frame(0x88)]) == [(CLOSE, (1005, ""))]
    assert frames.close_payload(1005, "never sent") == b""


@pytest.mark.parametrize("masked", [False, True])
def test_masks_are_the_clients_and_only_theirs(masked: bool) -> None:
    for pieces in ([frame(0x82, b"x", masked=not masked)], bytewise(frame(0x81, b"x", masked=not masked))):
        with pytest.raises(ProtocolError, match="masked"):
            decoded(decoder(masked=masked), pieces)


def test_a_header_that_cannot_be_is_refused_before_its_length_is_known() -> None:
    with pytest.raises(ProtocolError, match="reserved bit"):
        decoder().feed(b"\xf2\x7f")


# --- failing at once ------------------------------------------------------------------------------

GREEK = "κόσμε".encode()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_invalid_text_fails_before_its_frame_is_complete(masked: bool, direct: bool) -> None:
    whole = frame(0x81, GREEK + b"\xf4\x90\x80\x80edited", masked=masked)
    fatal = len(whole) - len("edited") - 2  # the 0x90 after an 0xf4
    made = decoder(masked=masked, direct=direct)
    for piece in bytewise(whole[: fatal - 1]):
        assert made.feed(piece) == []
    with pytest.raises(ProtocolError) as caught:
        made.feed(whole[fatal - 1 : fatal])
    assert caught.value.code == 1007


def test_invalid_text_fails_within_a_fragment_that_is_not_complete() -> None:
    made = decoder(direct=True)
    assert made.feed(frame(TEXT, GREEK[:3])) == []
    last = frame(0x80 | CONTINUATION, b"\xff" + b"x" * 100)
    with pytest.raises(ProtocolError) as caught:
        made.feed(last[:3])
    assert caught.value.code == 1007


def test_text_is_new_with_each_message() -> None:
    pieces = [frame(TEXT, GREEK[:1]), frame(0x80, GREEK[1:]), frame(0x81, GREEK)[:4], frame(0x81, GREEK)[4:]]
    assert decoded(decoder(), pieces) == [(TEXT, GREEK.decode())] * 2


def test_a_ping_in_pieces_between_fragments_of_text() -> None:
    blob = frame(TEXT, GREEK[:3]) + frame(0x89, b"\xff\xfe\xfd") + frame(0x80, GREEK[3:])
    assert decoded(decoder(), bytewise(blob)) == [(PING, b"\xff\xfe\xfd"), (TEXT, GREEK.decode())]


# --- memory ---------------------------------------------------------------------------------------


def grown_by(made: FrameDecoder, piece: bytes, times: int) -> int:
    """Bytes that the decoder holds more after it was fed."""
    tracemalloc.start()
    try:
        for _ in range(times):
            assert made.feed(piece) == []
            while made.more:
                assert made.feed(b"") == []
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_claimed_length_costs_nothing() -> None:
    claim = frame(0x82, b"", length=b"\x7f" + struct.pack("!Q", 1 << 20))
    assert grown_by(decoder(), claim, 1) < 10_000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_empty_fragments_cost_nothing(opcode: int) -> None:
    made = decoder(masked=True)
    made.feed(frame(opcode, masked=True))
    assert grown_by(made, frame(CONTINUATION, masked=True) * 1000, 20) < 10_000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_of_a_byte_cost_a_byte(opcode: int) -> None:
    made = decoder(masked=True)
    made.feed(frame(opcode, masked=True))
    assert grown_by(made, frame(CONTINUATION, b"x", masked=True) * 1000, 20) < 40_000


def test_pieces_of_a_byte_cost_a_byte() -> None:
    made = decoder()
    made.feed(frame(0x82, b"", length=b"\x7f" + struct.pack("!Q", 100_000)))
    assert grown_by(made, b"x", 20_000) < 40_000


def test_text_is_limited_by_its_bytes() -> None:
    made = decoder(max_message=10)
    made.feed(frame(TEXT, "€€".encode()))
    with pytest.raises(ProtocolError) as caught:
        made.feed(frame(CONTINUATION, "€€".encode()))
    assert caught.value.code == 1009


def test_a_control_frame_does_not_count_into_the_message_around_it() -> None:
    made = decoder(max_message=10)
    pieces = [frame(BINARY, b"x" * 10), frame(0x80 | PING, b"y" * 125), frame(0x80)]
    assert decoded(made, pieces) == [(PING, b"y" * 125), (BINARY, b"x" * 10)]


@pytest.mark.skipif(native.views is None, reason="nothing is compiled")
def test_views_of_a_buffer_are_counted() -> None:
    assert native.views is not None
    view = memoryview(bytearray(10))
    assert native.views(view) == 1
    part = memoryview(view)[2:]
    assert native.views(view) == 2
    inner = part[1:].cast("b")
    part.release()
    assert native.views(view) == 2
    inner.release()
    assert native.views(view) == 1
    with pytest.raises(TypeError):
        native.views(b"no view")  # type: ignore[arg-type]
