"""Hostile archives: each is refused with an error of its call, and changes nothing outside the sandbox."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pagent import limits
from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.peer import CallFailed, Peer
from tests.kit.tars import archive, member
from tests.kit.transfers import fetch, new_job, send, unfinished

MIB = 1024 * 1024


def pax(**records: str) -> bytes:
    """Return a member with an extended header of these records, valid or not."""
    return archive(member("f", b"data", pax_headers={name.replace("__", "."): text for name, text in records.items()}))


def claimed(name: str, size: int) -> bytes:
    """Return a header that claims a size, without the data."""
    return member(name, size=size)[0].tobuf(tarfile.GNU_FORMAT)


def neighbours(sandbox: Path) -> set[str]:
    """Return the entries beside a sandbox, except the agent's own lock."""
    return set(os.listdir(sandbox.parent)) - {sandbox.name, "lock"}


async def unpack(peer: Peer, job: str, data: bytes) -> int:
    size: int = await send(peer, "archive_upload", (data[at : at + MIB] for at in range(0, len(data), MIB)), job)
    return size


async def refused(peer: Peer, job: str, data: bytes, why: str) -> None:
    """Check that the call fails with a ValueError, and that the agent still works."""
    with pytest.raises(CallFailed, match=why) as failed:
        await unpack(peer, job, data)
    assert failed.value.cause == "ValueError"
    await unpack(peer, job, archive(member("well", b"and good")))


class TestEscape:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("../out", "path leaves the sandbox"),
            ("a/../../out", "path leaves the sandbox"),
            ("a/..", "path leaves the sandbox"),
            ("..", "path leaves the sandbox"),
            ("./../out", "path leaves the sandbox"),
            ("/out", "must be relative"),
            ("//out", "must be relative"),
        ],
    )
    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    async def test_by_name(self, agent: Agent, peer: Peer, name: str, why: str, kind: bytes, form: int) -> None:
        job, sandbox = await new_job(peer, agent)
        await refused(peer, job, archive(member(name, type=kind), kind=form), why)
        assert os.listdir(sandbox) == ["well"]
        assert neighbours(sandbox) == set()

    @pytest.mark.parametrize("header", [{"path": "../out"}, {"path": "/out"}, {"GNU__sparse__name": "../out"}])
    async def test_by_an_extended_header(self, agent: Agent, peer: Peer, header: dict[str, str]) -> None:
        job, sandbox = await new_job(peer, agent)
        await refused(peer, job, pax(**header), "leaves the sandbox|must be relative")
        assert neighbours(sandbox) == set()

    async def test_by_a_global_header(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", pax_headers={"path": "/out"}) as made:
            made.addfile(tarfile.TarInfo("f"))
        await refused(peer, job, buffer.getvalue(), "must be relative")

    async def test_by_links_in_the_archive(self, agent: Agent, peer: Peer, tmp_path: Path) -> None:
        """Links that lead outside are not made, so names below them become folders."""
        job, sandbox = await new_job(peer, agent)
        (tmp_path / "secret").write_text("secret")
        data = archive(
            member("link", type=tarfile.SYMTYPE, linkname=str(tmp_path)),
            member("link/f", b"data"),
            member("hard", type=tarfile.LNKTYPE, linkname=str(tmp_path / "secret")),
            member("hard", b"over it"),
            member("soft", type=tarfile.SYMTYPE, linkname="../../secret"),
            member("soft", b"over it"),
        )
        await unpack(peer, job, data)
        assert sorted(os.listdir(sandbox)) == ["hard", "link", "soft"]
        assert (sandbox / "link/f").read_bytes() == b"data"
        assert not any(path.is_symlink() for path in sandbox.rglob("*"))
        assert (tmp_path / "secret").read_text() == "secret"
        assert not (tmp_path / "f").exists()

    async def test_by_links_of_the_job(self, agent: Agent, peer: Peer, tmp_path: Path) -> None:
        job, sandbox = await new_job(peer, agent)
        (tmp_path / "victim").write_text("as it was")
        (tmp_path / "folder").mkdir(0o700)
        (sandbox / "out").symlink_to(tmp_path)
        (sandbox / "file").symlink_to(tmp_path / "victim")
        await refused(peer, job, archive(member("out/f", b"data")), "leaves the sandbox")
        await refused(peer, job, archive(member("out/folder", type=tarfile.DIRTYPE, mode=0o777)), "leaves the sandbox")
        await unpack(peer, job, archive(member("file", b"data")))  # in the place of the link, not through it
        assert (tmp_path / "victim").read_text() == "as it was"
        assert not (sandbox / "file").is_symlink()
        assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
        assert not (tmp_path / "f").exists()

    async def test_by_the_mode_and_time_of_a_folder_that_became_a_link(
        self, agent: Agent, peer: Peer, tmp_path: Path
    ) -> None:
        """They are set at the end, when the job may have put a link there."""
        job, sandbox = await new_job(peer, agent)
        outside = tmp_path / "outside"
        outside.mkdir(0o700)
        before = outside.stat()
        data = archive(member("d", type=tarfile.DIRTYPE, mode=0o777, mtime=5), member("f", bytes(3 * MIB)))
        call = await peer.start(peers.OSTREAM, "archive_upload", job)
        await peer.data(call, data[:MIB])
        while not (sandbox / "d").exists():
            await peer.call("job_info", job)
        (sandbox / "d").rmdir()
        (sandbox / "d").symlink_to(outside)
        await peer.data(call, data[MIB:])
        await peer.end(call)
        await peer.outcome(call)
        assert (outside.stat().st_mode, outside.stat().st_mtime) == (before.st_mode, before.st_mtime)

    async def test_devices_fifos_and_modes(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        kinds = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
        data = archive(
            *(member(f"special-{kind.decode()}", type=kind, devmajor=1, devminor=3) for kind in kinds),
            member("setuid", b"#!", mode=0o6755, uid=0, gid=0, uname="root"),
            member("sticky", type=tarfile.DIRTYPE, mode=0o7777),
        )
        await unpack(peer, job, data)
        assert sorted(os.listdir(sandbox)) == ["setuid", "sticky"]
        assert stat.S_IMODE((sandbox / "setuid").stat().st_mode) == 0o755
        assert stat.S_IMODE((sandbox / "sticky").stat().st_mode) == 0o777
        assert (sandbox / "setuid").stat().st_uid == os.getuid()

    async def test_devices_and_links_in_a_download(self, agent: Agent, peer: Peer, tmp_path: Path) -> None:
        """A job cannot add files outside its sandbox to a download."""
        job, sandbox = await new_job(peer, agent)
        (tmp_path / "secret").write_text("a secret")
        (sandbox / "file").symlink_to(tmp_path / "secret")
        (sandbox / "folder").symlink_to(tmp_path)
        os.mkfifo(sandbox / "fifo")
        sent = await fetch(peer, "archive_download", job)
        with tarfile.open(fileobj=io.BytesIO(sent.data)) as made:
            assert {entry.name: entry.type for entry in made} == {"file": tarfile.SYMTYPE, "folder": tarfile.SYMTYPE}
        assert b"a secret" not in sent.data


class TestBombs:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set limits that a test can reach; the ratio is checked from the size of one block on."""
        monkeypatch.setattr(limits, "ARCHIVE_RATIO_FROM", MIB)
        monkeypatch.setattr(limits, "ARCHIVE_RATIO", 100)
        monkeypatch.setattr(limits, "ARCHIVE_BYTES", 32 * MIB)
        monkeypatch.setattr(limits, "ARCHIVE_ENTRIES", 500)

    @pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
    async def test_ratio(self, agent: Agent, peer: Peer, compress: Any) -> None:
        job, sandbox = await new_job(peer, agent)
        await refused(peer, job, compress(archive(member("zeros", bytes(24 * MIB)))), "more than 100 times its size")
        assert os.listdir(sandbox) == ["well"]

    async def test_total_size(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        await refused(peer, job, claimed("big", 32 * MIB + 1), "more than 33554432 bytes")
        many = b"".join(claimed(f"{number}", 16 * MIB) + bytes(16 * MIB) for number in range(2))
        await refused(peer, job, many + claimed("last", 1), "more than 33554432 bytes")

    async def test_holes_count(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        hole = {"GNU__sparse__major": "1", "GNU__sparse__minor": "0", "GNU__sparse__realsize": str(33 * MIB)}
        entry, _ = member("f", pax_headers={name.replace("__", "."): text for name, text in hole.items()})
        entry.size = 512
        await refused(peer, job, archive((entry, b"0\n".ljust(512, b"\0"))), "more than 33554432 bytes")
        assert os.listdir(sandbox) == ["well"]

    async def test_entries(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        data = gzip.compress(archive(*(member(f"{number}") for number in range(600))))
        await refused(peer, job, data, "more than 500 entries")
        assert len(os.listdir(sandbox)) == 501

    async def test_depth(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        await refused(peer, job, archive(member("d/" * limits.ARCHIVE_DEPTH + "f")), "folders more than 256 deep")
        await unpack(peer, job, archive(member("d/" * (limits.ARCHIVE_DEPTH - 1) + "f")))
        assert len(await peer.call("file_list", job, recursive=True)) == limits.ARCHIVE_DEPTH + 1

    async def test_remembered_folders(self, agent: Agent, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "ARCHIVE_MEMORY", 10_000)
        job, _ = await new_job(peer, agent)
        data = archive(*(member(f"{number}", type=tarfile.DIRTYPE) for number in range(100)))
        await refused(peer, job, data, "too many folders")

    @pytest.mark.parametrize("method", ["gnu", "pax"])
    async def test_long_headers(self, agent: Agent, peer: Peer, method: str) -> None:
        """The memory for a header is bounded, whatever size it claims."""
        job, _ = await new_job(peer, agent)
        kind = tarfile.GNUTYPE_LONGNAME if method == "gnu" else tarfile.XHDTYPE
        entry = member("header", size=64 * MIB, type=kind)[0]
        await refused(peer, job, entry.tobuf(tarfile.GNU_FORMAT) + bytes(MIB), "extended header of 67108864 bytes")

    async def test_headers_in_a_row(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        record = b"11 a=bcdef\n"
        header = member("h", size=len(record) * 46, type=tarfile.XHDTYPE)[0].tobuf(tarfile.USTAR_FORMAT)
        await refused(peer, job, gzip.compress((header + (record * 46).ljust(512, b"\0")) * 3000, 1), "in a row|times")


async def test_a_real_bomb_and_memory(tmp_path: Path) -> None:
    """Ten gigabytes of zeros in ten megabytes: refused, and the agent has not grown by the unpacked data."""
    packer = gzip.compress(bytes(16 * MIB))  # members in a row are one stream
    first = gzip.compress(claimed("zeros", 10 << 30))
    async with agent_process(tmp_path) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        await unpack(peer, job, archive(member("well", bytes(MIB))))
        before = peak(agent.process.pid)
        with pytest.raises(CallFailed, match="more than 1000 times its size"):
            await unpack(peer, job, first + packer * 17)
        assert peak(agent.process.pid) - before < 32 * MIB
        assert [found["path"] for found in await peer.call("file_list", job)] == ["well"]


def peak(pid: int) -> int:
    """Return the peak memory of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class TestGarbage:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"x",
            b"not a tar at all" * 100,
            bytes(range(256)) * 8,
            b"\x1f\x8b",
            b"\x1f\x8b" + b"\xff" * 100,
            b"BZh9" + b"\xff" * 100,
            b"\xfd7zXZ\0" + b"\xff" * 100,
            gzip.compress(b"", mtime=0),
            gzip.compress(b"no tar inside" * 100, mtime=0),
        ],
    )
    async def test_input_that_is_not_an_archive(self, agent: Agent, peer: Peer, data: bytes) -> None:
        job, _ = await new_job(peer, agent)
        await refused(peer, job, data, "archive")

    @pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
    async def test_truncated_anywhere(self, agent: Agent, peer: Peer, compress: Any) -> None:
        job, sandbox = await new_job(peer, agent)
        noise = random.Random(1).randbytes(3000)
        data = compress(
            archive(member("d", type=tarfile.DIRTYPE), member("d/f", noise), member("g", noise))[: 17 * 512]
        )
        for size in range(1, len(data) - 1024, 487):
            with pytest.raises(CallFailed) as failed:
                await unpack(peer, job, data[:size])
            assert failed.value.cause == "ValueError"
            assert unfinished(sandbox) == {}

    async def test_flipped_bits(self, agent: Agent, peer: Peer) -> None:
        """The result is a file in the sandbox, a ValueError, or an OSError for a name."""
        job, sandbox = await new_job(peer, agent)
        whole = archive(member("d/" + "n" * 120, b"data" * 200, mtime=1.5), member("f", b"x"))
        dice = random.Random(2)
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 4)):
                at = dice.randrange(len(data))
                data[at] ^= 1 << dice.randrange(8)
                block = at // 512 * 512
                if at < 6 * 512:  # with a checksum that fits again, where it is one
                    fields = bytes(data[block : block + 512])
                    total = sum(fields[:148]) + sum(fields[156:]) + 8 * 32
                    data[block + 148 : block + 156] = b"%06o\0 " % total
            try:
                await unpack(peer, job, bytes(data))
            except CallFailed as error:
                assert error.cause in ("ValueError", "OSError", "IsADirectoryError", "NotADirectoryError"), error  # noqa: PT017
            assert unfinished(sandbox) == {}
        assert neighbours(sandbox) == set()

    @pytest.mark.parametrize(
        "header",
        [
            {"size": "-5"},
            {"size": "1e3"},
            {"size": "9" * 30},
            {"mtime": "yesterday"},
            {"GNU__sparse__major": "7", "GNU__sparse__minor": "0"},
            {"GNU__sparse__major": "1", "GNU__sparse__minor": "0"},
            {"GNU__sparse__size": "10", "GNU__sparse__map": "5,1,0,1"},
            {"GNU__sparse__size": "10", "GNU__sparse__map": "0,11"},
            {"GNU__sparse__size": "10", "GNU__sparse__map": "0,1,2"},
            {"GNU__sparse__size": "10", "GNU__sparse__map": "x"},
            {"GNU__sparse__size": "-1"},
        ],
    )
    async def test_extended_headers_that_contradict_the_data(
        self, agent: Agent, peer: Peer, header: dict[str, str]
    ) -> None:
        job, _ = await new_job(peer, agent)
        await refused(peer, job, pax(**header), "archive")

    @pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "1e300", "-1e300", "1e10"])
    async def test_times_out_of_range(self, agent: Agent, peer: Peer, mtime: str) -> None:
        job, sandbox = await new_job(peer, agent)
        await unpack(peer, job, pax(mtime=mtime))
        assert (sandbox / "f").read_bytes() == b"data"

    async def test_a_size_that_contradicts_the_data(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        await refused(peer, job, pax(size="100000"), "truncated")
        assert os.listdir(sandbox) == ["well"]

    async def test_a_name_with_a_nul_or_none_at_all(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        await refused(peer, job, pax(path="a\0b"), "NUL")
        with pytest.raises(CallFailed, match="ValueError"):
            await unpack(peer, job, archive(member("", b"data")))
        assert os.listdir(sandbox) == ["well"]

    async def test_a_name_that_is_too_long(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        for name in ("n" * 300, "/".join(["n" * 200] * 30)):
            with pytest.raises(CallFailed, match="Errno 36"):
                await unpack(peer, job, archive(member(name, b"data")))
        assert unfinished(sandbox) == {}

    async def test_files_in_place_of_folders(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        with pytest.raises(CallFailed, match="NotADirectoryError"):
            await unpack(peer, job, archive(member("a", b"data"), member("a/b", b"data")))
        with pytest.raises(CallFailed, match="IsADirectoryError"):
            await unpack(peer, job, archive(member("d", type=tarfile.DIRTYPE), member("d", b"data")))
        assert (sandbox / "a").read_bytes() == b"data"
        assert unfinished(sandbox) == {}
