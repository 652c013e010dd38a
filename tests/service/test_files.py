"""Files of a sandbox over the wire, for older peers and for ours (docs/contract.rst, "Files", "Transfers")."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, ISTREAM, OSTREAM, CallFailed, Peer
from tests.kit.transfers import download, eventually, fetch, new_job, send, unfinished, upload

MIB = 1024 * 1024
SOME = bytes(range(256)) * 1000  # 256,000 bytes: more than one message of any kind
LARGE = SOME * 5  # more than an upload gathers before it writes


class TestUpload:
    async def test_by_position(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        call = await peer.start(OSTREAM, "file_upload", job, "a.txt", False)
        for piece in (b"one", b"", b"two"):
            await peer.data(call, piece)
        await peer.end(call)
        # There is only the result: no stream message, no RESPONSE_STREAM_CLOSE.
        assert await peer.next_of(call) == [7, call, b"\x06", 0, None]
        assert (sandbox / "a.txt").read_bytes() == b"onetwo"

    async def test_by_keyword(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        assert await send(peer, "file_upload", [b"#!"], filename="run", executable=True, job_uid=job) == 2
        assert (sandbox / "run").read_bytes() == b"#!"

    async def test_modes(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        umask = os.umask(0o022)
        try:
            await upload(peer, job, "plain", b"x")
            await upload(peer, job, "run", b"x", executable=True)
        finally:
            os.umask(umask)
        assert stat.S_IMODE((sandbox / "plain").stat().st_mode) == 0o644
        assert stat.S_IMODE((sandbox / "run").stat().st_mode) == 0o755

    async def test_missing_parents_are_made(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        assert await upload(peer, job, "a/b/ü/c.bin", SOME) == len(SOME)
        assert (sandbox / "a/b/ü/c.bin").read_bytes() == SOME

    async def test_an_empty_file(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        assert await upload(peer, job, "empty") == 0
        assert (sandbox / "empty").read_bytes() == b""

    async def test_replaces_a_file_whole(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        await upload(peer, job, "f", SOME)
        before = (sandbox / "f").stat().st_ino
        await upload(peer, job, "f", b"short")
        assert (sandbox / "f").read_bytes() == b"short"
        assert (sandbox / "f").stat().st_ino != before

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("/etc/absolute", "file path must be relative"),
            ("../outside", "path leaves the sandbox: '../outside'"),
            ("a/../../outside", "path leaves the sandbox: 'a/../../outside'"),
            ("", "file path names no file: ''"),
            ("folder/", "file path names a folder: 'folder/'"),
            ("a\0b", "file path contains a NUL: 'a\\x00b'"),
        ],
    )
    async def test_a_bad_path(self, agent: Agent, peer: Peer, path: str, text: str) -> None:
        job, sandbox = await new_job(peer, agent)
        with pytest.raises(CallFailed) as failed:
            await upload(peer, job, path, b"data")
        assert (failed.value.status, failed.value.cause, failed.value.cause_message) == (10, "ValueError", text)
        assert os.listdir(sandbox) == []

    async def test_a_path_through_a_link_that_leads_out(self, agent: Agent, peer: Peer, tmp_path: Path) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "out").symlink_to(tmp_path)
        with pytest.raises(CallFailed, match="ValueError: path leaves the sandbox"):
            await upload(peer, job, "out/f", b"data")
        assert not (tmp_path / "f").exists()

    async def test_a_folder_is_not_replaced(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "d").mkdir()
        with pytest.raises(CallFailed, match="IsADirectoryError"):
            await upload(peer, job, "d", b"data")
        assert os.listdir(sandbox) == ["d"]

    @pytest.mark.parametrize("value", ["text", 1, {"a": 1}, False])
    async def test_messages_that_are_not_bytes(self, agent: Agent, peer: Peer, value: Any) -> None:
        job, sandbox = await new_job(peer, agent)
        with pytest.raises(CallFailed, match="ValueError: file contents come as bytes"):
            await send(peer, "file_upload", [b"data", value], job, "f")
        assert os.listdir(sandbox) == []

    async def test_the_file_appears_when_it_is_whole(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        call = await peer.start(OSTREAM, "file_upload", job, "f")
        for _ in range(4):
            await peer.data(call, SOME)
        assert await peer.call("file_list", job) == []  # the agent has read all of it before this call
        assert not (sandbox / "f").exists()
        await peer.end(call)
        assert (await peer.outcome(call))[1] == 4 * len(SOME)
        assert unfinished(sandbox) == {}

    async def test_a_cancelled_upload_leaves_nothing_and_has_no_result(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        call = await peer.start(OSTREAM, "file_upload", job, "deep/f")
        await peer.data(call, SOME)
        await peer.cancel(call)
        await upload(peer, job, "after", b"")  # one thread: the clean-up was before
        assert sorted(os.listdir(sandbox)) == ["after", "deep"]
        assert os.listdir(sandbox / "deep") == []
        assert not peer.has_message(call)

    async def test_unknown_jobs_and_arguments(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        with pytest.raises(CallFailed, match="JobNotFoundError"):
            await upload(peer, "unknown", "f", b"")
        with pytest.raises(CallFailed, match="TypeError"):
            await send(peer, "file_upload", [], job)
        with pytest.raises(CallFailed, match="TypeError"):
            await send(peer, "file_upload", [], job, "f", unknown=1)
        with pytest.raises(CallFailed, match="TypeError"):
            await send(peer, "file_upload", [], job, 5)

    async def test_of_another_call_type(self, agent: Agent, peer: Peer) -> None:
        job, _ = await new_job(peer, agent)
        call = await peer.start(BISTREAM, "file_upload", job, "f")
        with pytest.raises(CallFailed) as failed:
            await peer.outcome(call)
        assert failed.value.status == 30


class TestDownload:
    async def test_message_by_message(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "f").write_bytes(b"x" * 100_000)
        call = await peer.start(ISTREAM, "file_download", job, "f", 65536, False)
        assert await peer.next_of(call) == [8, call, {"size": 100_000}]
        assert await peer.next_of(call) == [8, call, b"x" * 65536]
        assert await peer.next_of(call) == [8, call, b"x" * 34464]
        assert await peer.next_of(call) == [7, call, b"\xce\x00\x01\x86\xa0", 0, None]

    async def test_an_empty_file(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "f").touch()
        assert await download(peer, job, "f") == (0, [], 0)

    @pytest.mark.parametrize("chunk_size", [1, 100, 65_536, 300_000, MIB, MIB + 1, 2**40])
    async def test_chunks_have_the_requested_size_up_to_1_mib(self, agent: Agent, peer: Peer, chunk_size: int) -> None:
        job, sandbox = await new_job(peer, agent)
        data = SOME[:500] if chunk_size < 100 else SOME * 6
        (sandbox / "f").write_bytes(data)
        sent = await download(peer, job, "f", chunk_size=chunk_size)
        assert sent.data == data
        size = min(chunk_size, MIB)
        assert [len(chunk) for chunk in sent.chunks[:-1]] == [size] * (len(sent.chunks) - 1)
        assert 0 < len(sent.chunks[-1]) <= size

    @pytest.mark.parametrize(("chunk_size", "error"), [(0, "Value"), (-1, "Value"), (1.5, "Type"), ("9", "Type")])
    async def test_a_bad_chunk_size(self, agent: Agent, peer: Peer, chunk_size: Any, error: str) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "f").write_bytes(b"data")
        with pytest.raises(CallFailed, match=f"{error}Error: chunk_size"):
            await download(peer, job, "f", chunk_size=chunk_size)

    async def test_remove(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "f").write_bytes(SOME)
        assert (await download(peer, job, "f", remove=True)).data == SOME
        assert os.listdir(sandbox) == []

    async def test_a_file_that_was_not_sent_completely_is_not_removed(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        with (sandbox / "f").open("wb") as file:
            file.truncate(1 << 30)
        call = await peer.start(ISTREAM, "file_download", job, "f", remove=True)
        await peer.next_of(call)
        await peer.cancel(call)
        await download(peer, job, "f", length=1)  # one thread: the clean-up was before
        assert (sandbox / "f").stat().st_size == 1 << 30

    @pytest.mark.parametrize(
        ("path", "cause", "text"),
        [
            ("missing", "FileNotFoundError", "[Errno 2] No such file or directory: 'missing'"),
            ("a/missing", "FileNotFoundError", "[Errno 2] No such file or directory: 'a/missing'"),
            ("/etc/passwd", "ValueError", "file path must be relative"),
            ("../x", "ValueError", "path leaves the sandbox: '../x'"),
            ("d", "IsADirectoryError", "[Errno 21] Is a directory: 'd'"),
            ("fifo", "ValueError", "not a regular file: 'fifo'"),
            ("out", "ValueError", "path leaves the sandbox: 'out'"),
        ],
    )
    async def test_an_error_before_the_first_message_is_the_only_answer(
        self, agent: Agent, peer: Peer, path: str, cause: str, text: str
    ) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "d").mkdir()
        os.mkfifo(sandbox / "fifo")
        (sandbox / "out").symlink_to("/etc/passwd")
        call = await peer.start(ISTREAM, "file_download", job, path)
        message = await peer.next_of(call)
        assert message[:4] == [7, call, None, 10]
        assert message[4] == [f"call {call} ('file_download') failed: {text}", cause, text, None]

    async def test_a_link_that_stays_inside_is_followed(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "d").mkdir()
        (sandbox / "d/f").write_bytes(SOME)
        (sandbox / "link").symlink_to("d/f")
        assert (await download(peer, job, "link")).data == SOME

    async def test_a_file_that_shrinks_meanwhile_is_an_error(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        with (sandbox / "f").open("wb") as file:
            file.truncate(1 << 30)
        call = await peer.start(ISTREAM, "file_download", job, "f")
        await peer.next_of(call)
        os.truncate(sandbox / "f", 1000)
        with pytest.raises(CallFailed, match=r"OSError.* became shorter"):
            await peer.outcome(call)


class TestParts:
    """Part 2: offsets, lengths, digests, continued uploads."""

    async def test_a_range(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "f").write_bytes(SOME)
        assert (await download(peer, job, "f", offset=1000, length=70_000)).data == SOME[1000:71_000]
        assert (await download(peer, job, "f", offset=255_990, length=70_000)).data == SOME[255_990:]
        assert (await download(peer, job, "f", offset=len(SOME))).data == b""
        assert (await download(peer, job, "f", length=0)).data == b""
        assert (await fetch(peer, "file_download", job, "f", 65536, False, 5, 6)).data == SOME[5:11]
        with pytest.raises(CallFailed, match="ValueError: offset 256001 is beyond the end"):
            await download(peer, job, "f", offset=len(SOME) + 1)
        with pytest.raises(CallFailed, match="ValueError: length must not be negative"):
            await download(peer, job, "f", length=-1)
        with pytest.raises(CallFailed, match="TypeError: offset must be an int"):
            await download(peer, job, "f", offset=True)

    async def test_a_digest(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        digest = hashlib.sha256(SOME).hexdigest()
        assert await upload(peer, job, "f", SOME, sha256=digest) == len(SOME)
        with pytest.raises(CallFailed, match="ValueError"):
            await upload(peer, job, "f", b"other", sha256=digest)
        with pytest.raises(CallFailed, match="ValueError: sha256 must be 64 hexadecimal digits"):
            await upload(peer, job, "f", b"other", sha256="abc")
        assert (sandbox / "f").read_bytes() == SOME
        assert unfinished(sandbox) == {}

    async def test_an_upload_that_is_continued(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        call = await peer.start(OSTREAM, "file_upload", job, "d/f", partial=True)
        await peer.data(call, LARGE)
        await peer.data(call, SOME[:1000])
        await eventually(lambda: list(unfinished(sandbox).values()) == [len(LARGE)])
        await peer.cancel(call)
        kept = await peer.call("file_stat", job, "d/f.pagent-partial")
        assert kept["size"] >= len(LARGE)
        assert not (sandbox / "d/f").exists()

        whole = hashlib.sha256(LARGE + SOME).hexdigest()
        rest = (LARGE + SOME)[kept["size"] :]
        assert await upload(peer, job, "d/f", rest, offset=kept["size"], sha256=whole) == len(rest)
        found = await peer.call("file_stat", job, "d/f", sha256=True)
        assert found["sha256"] == whole
        assert os.listdir(sandbox / "d") == ["f"]

    async def test_no_kept_part_to_continue(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        with pytest.raises(CallFailed, match="ValueError: cannot continue 'f' at 10: 0 bytes of it are kept"):
            await upload(peer, job, "f", b"data", offset=10)
        assert os.listdir(sandbox) == []

    async def test_a_part_is_in_no_archive(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        call = await peer.start(OSTREAM, "file_upload", job, "f", partial=True)
        await peer.data(call, LARGE)
        await eventually(lambda: list(unfinished(sandbox).values()) == [len(LARGE)])
        await peer.cancel(call)
        await peer.call("file_stat", job, "f.pagent-partial")
        assert b"pagent-partial" not in (await fetch(peer, "archive_download", job)).data


class TestEntries:
    """Part 2: file_stat, file_list, file_remove."""

    async def test_stat(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        (sandbox / "d").mkdir(0o750)
        (sandbox / "d/f").write_bytes(SOME)
        (sandbox / "d/f").chmod(0o640)
        os.utime(sandbox / "d/f", (1.5e9, 1.5e9))
        (sandbox / "l").symlink_to("/etc/passwd")
        found = {"path": "d/f", "type": "file", "size": len(SOME), "mode": 0o640, "mtime": 1.5e9}
        assert await peer.call("file_stat", job, "d/f") == found
        assert await peer.call("file_stat", path="d/f", job_uid=job, sha256=True) == {
            **found,
            "sha256": hashlib.sha256(SOME).hexdigest(),
        }
        assert (await peer.call("file_stat", job, "d"))["type"] == "dir"
        assert (await peer.call("file_stat", job, ""))["type"] == "dir"
        assert (await peer.call("file_stat", job, "l"))["type"] == "link"
        with pytest.raises(CallFailed, match="ValueError: path leaves the sandbox"):
            await peer.call("file_stat", job, "l", sha256=True)
        with pytest.raises(CallFailed, match="IsADirectoryError"):
            await peer.call("file_stat", job, "d", True)
        with pytest.raises(CallFailed, match="FileNotFoundError"):
            await peer.call("file_stat", job, "missing")

    async def test_list(self, agent: Agent, peer: Peer) -> None:
        job, sandbox = await new_job(peer, agent)
        for path in ("b/x/y.txt", "b/a", "a", "ü"):
            await upload(peer, job, path, path.encode())
        (sandbox / "out").symlink_to("/etc")
        os.mkfifo(sandbox / "fifo")

        async def names(*args: Any, **kwargs: Any) -> list[tuple[str, str]]:
            return [(found["path"], found["type"]) for found in await peer.call("file_list", job, *args, **kwargs)]

        top = [("a", "file"), ("b", "dir"), ("fifo", "other"), ("out", "link"), ("ü", "file")]
        below = [("b/a", "file"), ("b/x", "dir"), ("b/x/y.txt", "file")]
        assert await names() == top
        assert await names(recursive=True) == top[:2] + below + top[2:]
        assert await names("b/", True) == below
        assert await names("b") == below[:2]
        for path, error in (("out", "ValueError"), ("a", "NotADirectoryError"), ("missing", "FileNotFoundError")):
            with pytest.raises(CallFailed, match=error):
                await names(path)

    async def test_remove(self, agent: Agent, peer: Peer, tmp_path: Path) -> None:
        job, sandbox = await new_job(peer, agent)
        kept = tmp_path / "kept"
        kept.touch()
        await upload(peer, job, "d/f", b"data")
        (sandbox / "l").symlink_to(kept)
        with pytest.raises(CallFailed, match=r"OSError.*Errno 39"):
            await peer.call("file_remove", job, "d")
        assert (await peer.call("file_remove", job, "d/f"))["size"] == 4
        assert (await peer.call("file_remove", job, "d"))["type"] == "dir"
        assert (await peer.call("file_remove", job, "l"))["type"] == "link"
        assert os.listdir(sandbox) == []
        assert kept.exists()
        for path in ("", ".", "..", "/etc/passwd"):
            with pytest.raises(CallFailed, match="ValueError"):
                await peer.call("file_remove", job, path)

    async def test_jobs_of_other_peers_cannot_be_used(self, agent: Agent, peer: Peer) -> None:
        async with peers.dial(agent.rpc_port, TOKEN, uid="another") as other:
            job, _ = await new_job(peer, agent)
            await peer.call("job_remove", job)
            for method in ("file_stat", "file_list", "file_remove"):
                with pytest.raises(CallFailed, match="JobNotFoundError"):
                    await other.call(method, job, "f")


async def test_versions_and_conditions(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    made: Any = await upload(peer, job, "f", b"one", absent=True, report=True)
    assert (made["size"], made["created"]) == (3, True)
    values, _ = await peer.outcome(await peer.start(ISTREAM, "file_download", job, "f", length=0, describe=True))
    (first,) = values
    assert (first["size"], first["file"]["size"], first["file"]["version"]) == (0, 3, made["version"])
    for options in ({"absent": True}, {"match": ["other"]}):
        with pytest.raises(CallFailed, match="FileChangedError"):
            await upload(peer, job, "f", b"two", **options)
    with pytest.raises(CallFailed, match="FileChangedError"):
        await peer.call("file_remove", job, "f", match=["other"])
    again: Any = await upload(peer, job, "f", b"two", match=[made["version"]], report=True)
    assert (again["created"], again["version"] != made["version"]) == (False, True)
    with pytest.raises(CallFailed, match="FileDigestError"):
        await upload(peer, job, "f", b"x", sha256="0" * 64, report=True)
    with pytest.raises(CallFailed, match="FileOffsetError: cannot continue 'f' at 3: 0 bytes of it are kept"):
        await upload(peer, job, "f", b"x", offset=3, report=True)
    with pytest.raises(CallFailed, match="TypeError: match must be a list"):
        await upload(peer, job, "f", b"x", match="x")
    assert (sandbox / "f").read_bytes() == b"two"
    assert not unfinished(sandbox)
    await peer.call("file_remove", job, "f", match=[again["version"]])
    assert not (sandbox / "f").exists()
