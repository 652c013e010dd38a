from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent import limits
from pagent.files.tarstream import Data, Entry, EntryEnd, TarReader
from tests.kit.tars import archive, info

needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")

SECOND = 10**9


def read(parts: Iterable[bytes]) -> list[tuple[Entry, bytes]]:
    """Entries with their content, holes filled with zeros."""
    reader = TarReader()
    found: list[tuple[Entry, bytearray]] = []
    open_file = False
    for part in parts:
        for event in reader.feed(part):
            if isinstance(event, Entry):
                assert not open_file
                found.append((event, bytearray()))
                open_file = event.kind == "file"
            elif isinstance(event, Data):
                assert open_file
                assert event.data
                content = found[-1][1]
                assert event.offset >= len(content)
                content.extend(bytes(event.offset - len(content)) + event.data)
            else:
                assert isinstance(event, EntryEnd)
                content = found[-1][1]
                content.extend(bytes(found[-1][0].size - len(content)))
                open_file = False
    reader.finish()
    return [(entry, bytes(content)) for entry, content in found]


def names(data: bytes) -> list[str]:
    return [entry.name for entry, _ in read([data])]


RICH = archive(
    (info("d", tarfile.DIRTYPE, mode=0o755), b""),
    (info("d/f", mode=0o4755, mtime=1234567890.25), b"x" * 700),
    (info("link", tarfile.SYMTYPE, linkname="d/f"), b""),
    (info("fifo", tarfile.FIFOTYPE), b""),
    (info("d/" + "long" * 60, mtime=-5), b"y"),
    (info("ä€😀"), b""),
    (info("\udcff\udcfe"), b"z" * 512),
)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats(kind: int) -> None:
    long = "p" * 90 + "/" + "n" * 90
    data = archive(
        (info(long, mtime=7), b"content"),
        (info("d/", tarfile.DIRTYPE), b""),
        (info("ä\udcff", mode=0o640), b""),
        (info("hard", tarfile.LNKTYPE, linkname="l" * 90), b""),
        kind=kind,
    )
    found = read([data])
    assert [(entry.name, entry.kind, content) for entry, content in found] == [
        (long, "file", b"content"),
        ("d", "dir", b""),
        ("ä\udcff", "file", b""),
        ("hard", "hardlink", b""),
    ]
    assert (found[0][0].mtime_ns, found[2][0].mode) == (7 * SECOND, 0o640)


def test_v7_marks_a_folder_by_its_slash() -> None:
    data = archive((info("x" * 120 + "/", tarfile.AREGTYPE), b""), kind=tarfile.GNU_FORMAT)
    assert [entry.kind for entry, _ in read([data])] == ["dir"]


def test_byte_by_byte() -> None:
    whole = read([RICH])
    assert read(RICH[at : at + 1] for at in range(len(RICH))) == whole
    assert [entry.kind for entry, _ in whole] == ["dir", "file", "link", "other", "file", "file", "file"]
    assert whole[1][0].mtime_ns == 1_234_567_890_250_000_000
    assert whole[4][0].mtime_ns == -5 * SECOND
    assert whole[6] == (Entry("\udcff\udcfe", "file", 512, 0o644, 0.0), b"z" * 512)


@given(st.lists(st.integers(0, len(RICH)), max_size=12))
def test_every_split_gives_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(RICH)]
    assert read(RICH[start:end] for start, end in pairwise(edges)) == read([RICH])


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=150),
            st.binary(max_size=1100),
            st.integers(0, 0o7777),
            st.integers(-1000, 1 << 34),
        ),
        max_size=5,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.integers(1, 3000),
)
def test_archives_of_the_standard_library_are_read(
    files: list[tuple[str, bytes, int, int]], kind: int, step: int
) -> None:
    files = [(f"n{name.strip('/')}", *rest) for name, *rest in files]  # type: ignore[misc]
    data = archive(*[(info(name, mode=mode, mtime=mtime), content) for name, content, mode, mtime in files], kind=kind)
    found = read(data[at : at + step] for at in range(0, len(data), step))
    assert [(entry.name, content, entry.mode, entry.mtime_ns // SECOND) for entry, content in found] == files


# --- the end --------------------------------------------------------------------------------------


def test_input_after_the_end_is_dropped() -> None:
    assert read([RICH, b"other bytes", RICH]) == read([RICH])
    assert read([RICH + b"other bytes"]) == read([RICH])
    assert read([bytes(512)]) == read([bytes(10240)]) == []


def test_truncated_anywhere() -> None:
    end = len(RICH.rstrip(b"\0"))
    end += -end % 512
    for cut in range(512, end + 512, 100):
        with pytest.raises(ValueError, match=r"^the archive is truncated$"):
            read([RICH[:cut]])
    for cut in (0, 1, 511):
        with pytest.raises(ValueError, match=r"^not a tar archive: it is empty$"):
            read([RICH[:cut]])


def test_a_missing_end_marker_is_truncation() -> None:
    data = archive((info("f"), b"x" * 512))
    assert names(data[:1536]) == ["f"]
    with pytest.raises(ValueError, match="truncated"):
        read([data[:1024]])


def test_input_that_is_not_a_tar() -> None:
    with pytest.raises(ValueError, match=r"^not a tar archive$"):
        read([os.urandom(2000)])


def test_a_corrupt_header() -> None:
    data = bytearray(archive((info("a"), b""), (info("b"), b"")))
    data[512 + 3] ^= 1
    with pytest.raises(ValueError, match="the archive is corrupt: bad checksum"):
        read([bytes(data)])


@given(st.integers(0, len(RICH) - 1), st.binary(min_size=1, max_size=9))
def test_damage_raises_nothing_but_value_error(at: int, damage: bytes) -> None:
    data = RICH[:at] + damage + RICH[at + len(damage) :]
    try:
        found = read([data])
    except ValueError as error:
        assert "archive" in str(error)  # noqa: PT017
    else:
        assert len(found) <= 7


# --- limits, and headers that contradict their data -----------------------------------------------


def header(name: str = "f", kind: bytes = tarfile.REGTYPE, size: int = 0, raw: dict[str, bytes] | None = None) -> bytes:
    """Return a header block with raw fields put over it and a valid checksum."""
    block = bytearray(info(name, kind, size=size).tobuf(tarfile.GNU_FORMAT))
    for field, value in (raw or {}).items():
        at = {"size": 124, "mtime": 136}[field]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def test_sizes_above_8_gib() -> None:
    huge = 9 << 30
    reader = TarReader()
    [entry, data] = list(reader.feed(header(size=huge) + b"first"))
    assert entry == Entry("f", "file", huge, 0o644, 0.0)
    assert data == Data(0, b"first")
    pax = info("f", size=huge).tobuf(tarfile.PAX_FORMAT)
    assert list(TarReader().feed(pax)) == [Entry("f", "file", huge, 0o644, 0.0)]


def test_negative_sizes_are_corrupt() -> None:
    with pytest.raises(ValueError, match="negative size"):
        read([header(raw={"size": b"\xff" * 12})])
    with pytest.raises(ValueError, match="is not a number"):
        read([info("f", pax_headers={"size": "-512"}).tobuf(tarfile.PAX_FORMAT)])


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_extended_headers_are_bounded(kind: bytes) -> None:
    with pytest.raises(ValueError, match="extended header of 1048577 bytes"):
        list(TarReader().feed(header("x", kind, limits.ARCHIVE_HEADER_MAX + 1)))


def test_times_out_of_any_range_are_clamped() -> None:
    for field in (b"\x80" + b"\xff" * 11, b"\xff" + b"\0" * 11):
        [entry] = [entry for entry, _ in read([header(raw={"mtime": field}) + bytes(1024)])]
        assert -(2**31) * SECOND <= entry.mtime_ns <= 2**34 * SECOND


def test_types_without_data_have_none_whatever_they_say() -> None:
    for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        assert names(header("a", kind, size=5000) + header("b") + bytes(1024)) == ["a", "b"]


def test_unknown_types_are_skipped_with_their_data() -> None:
    assert names(header("a", b"?", size=513) + b"j" * 1024 + header("b") + bytes(1024)) == ["a", "b"]


def test_known_keywords_of_global_headers_apply_to_all_later_entries() -> None:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "5", "x": "y"}
    ) as writer:
        writer.addfile(info("a"))
        writer.addfile(info("b", mtime=7.5))
    assert [entry.mtime_ns for entry, _ in read([file.getvalue()])] == [5 * SECOND, 15 * SECOND // 2]


# --- sparse files, compared with GNU tar ----------------------------------------------------------


@needs_tar
@pytest.mark.parametrize(
    "way", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
@pytest.mark.parametrize("pieces", [0, 1, 3, 60])
def test_sparse_files(tmp_path: Path, way: str, pieces: int) -> None:
    with (tmp_path / "s").open("wb") as file:
        for number in range(pieces):
            file.seek((2 * number + 1) * 65536)
            file.write(f"piece {number}".encode())
        file.truncate((2 * pieces + 3) * 65536)
    (tmp_path / "t").write_text("after")
    options = [way] if "format" in way else ["--format=pax", way]
    data = subprocess.run(
        ["tar", "-cSf", "-", *options, "s", "t"], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    ).stdout
    if pieces:
        assert len(data) < (tmp_path / "s").stat().st_size
    for step in (len(data), 1000, 37):
        found = read(data[at : at + step] for at in range(0, len(data), step))
        assert [(entry.name, entry.kind) for entry, _ in found] == [("s", "file"), ("t", "file")]
        assert found[0][1] == (tmp_path / "s").read_bytes()
        assert found[1][1] == b"after"


def sparse(content: bytes, **headers: str) -> bytes:
    entry = info("s", size=len(content), pax_headers={f"GNU.sparse.{key}": value for key, value in headers.items()})
    return entry.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512) + bytes(1024)


def test_a_sparse_file_larger_than_any_disk_is_read_at_once() -> None:
    content = b"1\n0\n5\n".ljust(512, b"\0") + b"hello"
    reader = TarReader()
    events = list(reader.feed(sparse(content, major="1", minor="0", realsize=str(9 << 40))))
    assert events == [Entry("s", "file", 9 << 40, 0o644, 0.0), Data(0, b"hello"), EntryEnd()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no number\n",
        b"5\n1\n2\n",
        b"1" * 2000,
        b"1\n-1\n5\n",
        b"99999999999999999999999\n",
        b"1\n0\n6000\n",
        b"2\n5\n1\n0\n1\n",
    ],
)
def test_maps_that_contradict_the_file(content: bytes) -> None:
    with pytest.raises(ValueError, match="corrupt"):
        read([sparse(content.ljust(1024, b"\0") if content else b"", major="1", minor="0", realsize="100")])
