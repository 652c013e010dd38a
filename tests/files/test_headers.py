from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.files.headers import header, sparse_header

#: A name of the system, in any bytes but those that no name has.
NAMES = (
    st.binary(min_size=1, max_size=300)
    .map(lambda data: data.replace(b"\0", b"x").replace(b"/", b"y").decode("utf-8", "surrogateescape"))
    .filter(lambda name: name not in (".", ".."))
)
MODES = st.integers(0, 0o7777)
#: Within the range that a pax record and a float of Python both hold exactly enough.
TIMES_NS = st.integers(-(2**33), 2**33).map(lambda seconds: seconds * 10**9)


def read(archive: bytes) -> tarfile.TarInfo:
    padded = archive + bytes(2 * tarfile.BLOCKSIZE)
    with tarfile.open(fileobj=io.BytesIO(padded), mode="r:", errors="surrogateescape") as opened:
        entry = opened.next()
    assert entry is not None
    return entry


@given(NAMES, MODES, TIMES_NS, st.sampled_from(["file", "dir", "link"]))
def test_a_header_is_read_by_tarfile(name: str, mode: int, mtime_ns: int, kind: str) -> None:
    data = header(name, kind, mode, 0, mtime_ns, "target/ü" if kind == "link" else "")
    assert len(data) % tarfile.BLOCKSIZE == 0
    entry = read(data)
    assert (entry.name, entry.mode, entry.mtime) == (name.rstrip("/"), mode, mtime_ns // 10**9)
    assert (entry.isreg(), entry.isdir(), entry.issym()) == (kind == "file", kind == "dir", kind == "link")
    assert entry.linkname == ("target/ü" if kind == "link" else "")


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 2**62])
def test_a_size_beyond_ustar(size: int) -> None:
    data = header("a", "file", 0o644, size, 0)
    entry = tarfile.TarInfo.frombuf(data[-tarfile.BLOCKSIZE :], "utf-8", "strict")
    records = data[: -tarfile.BLOCKSIZE]
    assert entry.size == size or f"size={size}\n".encode() in records


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [(1_500_000_000, "1.5"), (-1, "-0.000000001"), (-1_500_000_000, "-1.5"), (999_999_999, "0.999999999")],
)
def test_parts_of_a_second(mtime_ns: int, text: str) -> None:
    assert read(header("a", "file", 0o644, 0, mtime_ns)).pax_headers["mtime"] == text


@given(
    NAMES,
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=200),
    st.integers(0, 100),
)
def test_a_sparse_file_is_read_by_tarfile(name: str, gaps: list[tuple[int, int]], hole: int) -> None:
    extents, end = [], 0
    for gap, length in gaps:
        extents.append((end + gap, length))
        end += gap + length
    data = sparse_header(f"folder/{name}", 0o600, end + hole, 0, extents)
    content = bytes(sum(length for _, length in extents))
    entry = read(data + content + bytes(-len(content) % tarfile.BLOCKSIZE))
    assert (entry.name, entry.size, entry.issparse()) == (f"folder/{name}", end + hole, True)
    assert [each for each in entry.sparse if each[1]] == extents  # type: ignore[attr-defined]
