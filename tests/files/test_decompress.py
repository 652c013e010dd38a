from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent import limits
from pagent.files.decompress import Decompressor

KINDS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
COMPRESSED = [kind for kind in KINDS if kind != "plain"]
TEXT = os.urandom(3000) + b"abc" * 20_000


def run(parts: Iterable[bytes], size: int = 1 << 18) -> bytes:
    source = Decompressor()
    found: list[bytes] = []

    def drain() -> None:
        while not source.is_exhausted:
            found.append(source.pull(size))
            assert len(found[-1]) <= size

    for part in parts:
        source.push(part)
        drain()
    source.end()
    drain()
    source.check_complete()
    return b"".join(found)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("kind", KINDS)
def test_byte_by_byte(kind: str) -> None:
    packed = KINDS[kind](TEXT[:4000])
    assert run(packed[at : at + 1] for at in range(len(packed))) == TEXT[:4000]


@given(
    kind=st.sampled_from(list(KINDS)), cuts=st.lists(st.integers(0, 1 << 17), max_size=8), size=st.integers(1, 70_000)
)
@settings(max_examples=60)
def test_any_split_and_any_size(kind: str, cuts: list[int], size: int) -> None:
    if size < 100:
        size *= 100
    assert run(split(KINDS[kind](TEXT), cuts), size) == TEXT


@given(kind=st.sampled_from(COMPRESSED), cuts=st.lists(st.integers(0, 1 << 17), max_size=8), zeros=st.integers(0, 9))
@settings(max_examples=60)
def test_members_in_a_row_with_padding(kind: str, cuts: list[int], zeros: int) -> None:
    pack = KINDS[kind]
    data = pack(b"one") + bytes(zeros * 4) + pack(b"") + pack(TEXT) + bytes(zeros)
    assert run(split(data, cuts)) == b"one" + TEXT


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("after", [b"other bytes", b"\x1f", b"BZ", b"\xfd7zXZ", b"\x1f\x8bxx"])
def test_input_after_the_last_member_is_ignored(kind: str, after: bytes) -> None:
    data = KINDS[kind](TEXT) + after
    for step in (1000, len(data)):
        assert run(data[at : at + step] for at in range(0, len(data), step)) == TEXT


@pytest.mark.parametrize("kind", COMPRESSED)
def test_truncated_anywhere(kind: str) -> None:
    packed = KINDS[kind](TEXT[:500])
    for end in range(6, len(packed)):
        with pytest.raises(ValueError, match="truncated"):
            run([packed[:end]])


@pytest.mark.parametrize("kind", COMPRESSED)
def test_corrupt(kind: str) -> None:
    packed = bytearray(KINDS[kind](TEXT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(ValueError, match=r"corrupt|truncated"):
        run([bytes(packed)])


@given(data=st.binary(max_size=200), magic=st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"]))
def test_any_input_is_plain_corrupt_or_truncated(data: bytes, magic: bytes) -> None:
    try:
        found = run([magic + data])
    except ValueError as error:
        assert "corrupt" in str(error) or "truncated" in str(error)  # noqa: PT017
    else:
        assert found == data or magic


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f", b"BZ", b"short"])
def test_input_too_short_for_any_magic_is_plain(data: bytes) -> None:
    assert run([data[at : at + 1] for at in range(len(data))]) == data


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_bomb_comes_out_in_bounded_blocks(kind: str) -> None:
    """64 MiB of zeros from a few KiB: each pull returns at most the size that it was given."""
    source = Decompressor()
    source.push(KINDS[kind](bytes(64 << 20)))
    assert source.pull(1000) == bytes(1000)
    assert source.is_compressed
    total = 1000
    while block := source.pull(1 << 20):
        assert len(block) <= 1 << 20
        total += len(block)
    assert total == 64 << 20


def test_an_xz_dictionary_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = lzma.compress(TEXT, preset=6)
    assert run([packed]) == TEXT
    monkeypatch.setattr(limits, "ARCHIVE_XZ_MEMORY", 1 << 20)
    with pytest.raises(ValueError, match="Memory usage limit"):
        run([packed])


def test_the_best_preset_of_xz_is_within_the_limit() -> None:
    assert run([lzma.compress(TEXT, preset=9 | lzma.PRESET_EXTREME)]) == TEXT


@pytest.mark.parametrize("kind", COMPRESSED)
def test_empty_members_are_returned_one_by_one(kind: str) -> None:
    source = Decompressor()
    source.push(KINDS[kind](b"") * 1000)
    source.end()
    pulls = 0
    while not source.is_exhausted:
        before = source.members
        assert source.pull(100) == b""
        assert source.members <= before + 1
        pulls += 1
    assert source.members == 1000
    assert pulls <= 1001


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("zeros", [0, 4])
def test_a_message_of_empty_members_costs_as_much_as_its_length(kind: str, zeros: int) -> None:
    """A quadratic decoder would copy 4 MiB for each of 100,000 members."""
    member = KINDS[kind](b"") + bytes(zeros)
    source = Decompressor()
    source.push(KINDS[kind](b"x") + member * ((4 << 20) // len(member)))
    source.end()
    began = time.thread_time()
    while not source.is_exhausted and time.thread_time() < began + 60:
        source.pull(1 << 18)
    assert source.is_exhausted


def test_a_large_message_is_not_copied_for_each_piece_of_it() -> None:
    packed = gzip.compress(os.urandom(1 << 20) * 32, 1)
    source = Decompressor()
    source.push(packed)
    source.end()
    tracemalloc.start()
    try:
        while not source.is_exhausted:
            source.pull(1 << 18)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@given(cuts=st.lists(st.integers(0, 1 << 16), max_size=20), kind=st.sampled_from(COMPRESSED))
@settings(max_examples=60)
def test_input_may_come_before_the_output_of_the_last_is_pulled(kind: str, cuts: list[int]) -> None:
    pack = KINDS[kind]
    data = pack(TEXT) + pack(bytes(100_000)) + pack(b"") + pack(TEXT[:5000])
    source = Decompressor()
    found = []
    for part in split(data, cuts):
        source.push(part)
        found.append(source.pull(1000))
    source.end()
    while not source.is_exhausted:
        found.append(source.pull(1000))
    source.check_complete()
    assert b"".join(found) == TEXT + bytes(100_000) + TEXT[:5000]
