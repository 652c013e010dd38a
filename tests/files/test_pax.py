from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.files.pax import Overrides, number, records


def record(keyword: bytes, value: bytes) -> bytes:
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


keywords = st.text(st.characters(exclude_characters="=\n", exclude_categories=["Cs"]), min_size=1, max_size=9)


@given(st.lists(st.tuples(keywords, st.text(st.characters(exclude_categories=["Cs"]), max_size=120)), max_size=6))
def test_records_round_trip(pairs: list[tuple[str, str]]) -> None:
    data = b"".join(record(keyword.encode(), value.encode()) for keyword, value in pairs)
    assert records(data) == pairs
    assert records(data + bytes(7)) == pairs


def test_values_may_hold_any_bytes() -> None:
    assert records(record(b"path", b"a=b\nc \xff")) == [("path", "a=b\nc \udcff")]


@pytest.mark.parametrize(
    "data",
    [
        b"path=x\n",
        b" 6 a=b\n",
        b"6 a=bc",
        b"7 a=b\n",
        b"5 a=b\n",
        b"6 abc\n",
        b"0 a=b\n",
        b"-6 a=b\n",
        b"99999999999999999999 a=b\n",
        b"+6 a=b\n",
        b"6_0 a=b\n",
    ],
)
def test_broken_records(data: bytes) -> None:
    with pytest.raises(ValueError, match="the archive is corrupt"):
        records(data)


@given(st.one_of(st.binary(max_size=60), st.text("1678 ab=\n", max_size=12).map(str.encode)))
def test_any_bytes_are_records_or_corrupt(data: bytes) -> None:
    try:
        found = records(data)
    except ValueError:
        return
    if b"0" not in data:  # otherwise the length has leading zeros
        again = [record(k.encode(errors="surrogateescape"), v.encode(errors="surrogateescape")) for k, v in found]
        assert b"".join(again) == data.rstrip(b"\0")


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1_0", " 1", "٣", "9" * 20])
def test_invalid_numbers(value: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        number(value)


def test_overrides() -> None:
    over = Overrides([("path", "global"), ("path", "name"), ("size", "12"), ("mtime", "1.5"), ("uid", "7")], "long")
    assert (over.name, over.size, over.mtime_ns, over.sparse_size) == ("name", 12, 1_500_000_000, None)
    over = Overrides([("path", "global"), ("path", ""), ("size", "")], "long")
    assert (over.name, over.size, over.mtime_ns) == ("long", None, None)


@pytest.mark.parametrize(
    ("value", "mtime"),
    [
        ("nan", 0),
        ("inf", 0),
        ("-1e999", -(2**31) * 10**9),
        ("1e999999999", 2**34 * 10**9),
        ("-3.25", -3_250_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("0.9999999999", 999_999_999),
    ],
)
def test_times(value: str, mtime: int) -> None:
    assert Overrides([("mtime", value)], None).mtime_ns == mtime
    with pytest.raises(ValueError, match="is not a time"):
        Overrides([("mtime", value + "x")], None)


def test_sparse_files_of_each_version() -> None:
    repeated = [("GNU.sparse.size", "9"), *[("GNU.sparse.offset", "1"), ("GNU.sparse.numbytes", "2")] * 2]
    assert Overrides(repeated, None).extents == [(1, 2), (1, 2)]
    mapped = Overrides([("GNU.sparse.size", "9"), ("GNU.sparse.map", "1,2,5,4"), ("GNU.sparse.name", "n")], "x")
    assert (mapped.sparse_size, mapped.extents, mapped.name) == (9, [(1, 2), (5, 4)], "n")
    ahead = Overrides([("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")], None)
    assert (ahead.sparse_size, ahead.extents) == (9, None)


@pytest.mark.parametrize(
    "pairs",
    [
        [("GNU.sparse.major", "2")],
        [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")],
        [("GNU.sparse.size", "9"), ("GNU.sparse.map", "1,2,3")],
        [("GNU.sparse.size", "9"), ("GNU.sparse.map", "1,x")],
        [("GNU.sparse.size", "-9")],
    ],
)
def test_invalid_sparse_files(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="the archive"):
        Overrides(pairs, None)
