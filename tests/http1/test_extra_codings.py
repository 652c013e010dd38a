"""br and zstd, and agents without their packages."""

from __future__ import annotations

import sys

import pytest

from pagent.http1.coding import decoder_for
from pagent.http1.decoder import CodingError, UnknownCodingError
from tests.http1.codings import INSTALLED, TEXT, decode

if INSTALLED["zstandard"]:
    import zstandard


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard"), ("gzip, br", "brotli")])
def test_a_coding_whose_package_is_missing_is_named(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnknownCodingError, match=f"'{package}'"):
        decoder_for(coding)


def test_a_brotli_that_cannot_bound_its_output_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        Decompressor = object

    monkeypatch.setitem(sys.modules, "brotli", Old)  # type: ignore[arg-type]
    with pytest.raises(UnknownCodingError, match="brotli"):
        decoder_for("br")


@pytest.mark.skipif(not INSTALLED["zstandard"], reason="needs zstandard")
def test_frames_of_zstd_follow_each_other_and_windows_are_bounded() -> None:
    data = zstandard.compress(b"one") + zstandard.compress(TEXT)
    assert decode("zstd", [data]) == decode("zstd", [bytes([byte]) for byte in data]) == b"one" + TEXT
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compressobj()
    with pytest.raises(CodingError):
        decode("zstd", [wide.compress(b"x" * 100) + wide.flush()])
