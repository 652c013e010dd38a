"""What messages go through, asked for beforehand: of whatever messages, for whatever objects."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.wire import frames, messages, native

if native.Footprints is None:
    pytest.skip("nothing is compiled", allow_module_level=True)

PLACES = 16_384
STREAM_KINDS = (messages.REQUEST_MESSAGE, messages.RESPONSE_MESSAGE)
ids = st.integers(0, 2**64 - 1) | st.integers(0, 300)


def footprints() -> Any:
    assert native.Footprints is not None
    return native.Footprints()


class Thing:
    pass


def message(kind: int, call_id: int, value: bytes = b"some text") -> tuple[int, bytes]:
    return frames.BINARY, messages.stream_prefix(kind, call_id) + messages.bin_header(len(value)) + value


@given(st.lists(ids, unique_by=lambda call_id: call_id % PLACES, max_size=100), st.lists(ids, max_size=20), st.data())
def test_messages_of_calls_that_were_kept_are_recognised(
    kept: list[int], others: list[int], data: st.DataObject
) -> None:
    prints = footprints()
    for call_id in kept:
        prints.keep(call_id, Thing(), b"", prints, *range(data.draw(st.integers(0, 40))))
    sent = data.draw(st.lists(st.sampled_from([*kept, *others]), max_size=64)) if kept or others else []
    kinds = [data.draw(st.sampled_from(STREAM_KINDS)) for _ in sent]
    batch = [message(kind, call_id) for kind, call_id in zip(kinds, sent, strict=True)]
    views = [(opcode, memoryview(bytearray(payload))) for opcode, payload in batch]
    expected = sum(call_id in kept for call_id in sent)
    assert prints.fetch(batch) == prints.fetch(views) == expected


@given(
    st.lists(st.tuples(st.integers(0, 15), st.binary(max_size=20) | st.none() | st.tuples(st.integers(), st.text())))
)
def test_anything_else_is_left_alone(anything: list[Any]) -> None:
    prints = footprints()
    prints.keep(1, Thing())
    alike = sum(type(each) is bytes and each[:1] == b"\x93" and each[1:2] in (b"\4", b"\x08") for _, each in anything)
    assert prints.fetch(anything) <= alike
    assert prints.fetch([*anything, None, (), (1,), 7]) == prints.fetch(anything)


def test_a_released_view_is_no_message() -> None:
    prints = footprints()
    prints.keep(1, Thing())
    opcode, payload = message(messages.REQUEST_MESSAGE, 1)
    view = memoryview(payload)
    assert prints.fetch([(opcode, view)]) == 1
    view.release()
    assert prints.fetch([(opcode, view)]) == 0


def test_only_what_a_decoder_gives_is_read() -> None:
    """Anything else may run code of its own when it is read."""

    class Bytes(bytes):
        pass

    prints = footprints()
    prints.keep(1, Thing())
    opcode, payload = message(messages.REQUEST_MESSAGE, 1)
    assert prints.fetch([(opcode, bytearray(payload)), (opcode, Bytes(payload)), (opcode, payload)]) == 2


def test_no_more_at_a_time_than_the_caches_keep() -> None:
    prints = footprints()
    prints.keep(1, Thing())
    assert prints.fetch([message(messages.REQUEST_MESSAGE, 1)] * 1000) == 64


def test_the_last_of_those_that_share_a_place_has_it() -> None:
    prints = footprints()
    prints.keep(3, Thing())
    prints.keep(3 + PLACES, Thing())
    assert prints.fetch([message(messages.REQUEST_MESSAGE, 3)]) == 0
    assert prints.fetch([message(messages.REQUEST_MESSAGE, 3 + PLACES)]) == 1


def test_objects_are_not_kept_alive() -> None:
    prints = footprints()
    thing = Thing()
    gone = weakref.ref(thing)
    prints.keep(1, thing)
    del thing
    gc.collect()
    assert gone() is None
    assert prints.fetch([message(messages.REQUEST_MESSAGE, 1)]) == 1  # asks for what is there now


@pytest.mark.parametrize("arguments", [(), ("1",), (None, Thing())])
def test_no_id_is_an_error(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="call_id"):
        footprints().keep(*arguments)


@pytest.mark.parametrize("call_id", [-1, 1 << 64])
def test_an_id_of_more_than_64_bits_is_an_error(call_id: int) -> None:
    with pytest.raises(OverflowError):
        footprints().keep(call_id, Thing())


def test_messages_are_a_list() -> None:
    with pytest.raises(TypeError, match="list"):
        footprints().fetch(())
    with pytest.raises(TypeError):
        type(footprints())(1)
