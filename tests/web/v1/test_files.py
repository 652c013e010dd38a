"""Files of a job over /v1: reading, parts, versions, uploads that are continued, names."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pagent.config.model import Settings
from pagent.names import to_wire
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, connected, running_router
from tests.kit.transfers import eventually
from tests.web.v1.data import Data, data_site
from tests.web.v1.portal import Portal

OCTETS = ("Content-Type", "application/octet-stream")


@pytest.fixture
async def data(settings: Settings) -> AsyncIterator[Data]:
    async with data_site(settings) as made:
        yield made


async def put(data: Data, path: str, body: bytes, *headers: tuple[str, str]) -> Answer:
    return await data.portal.ask("PUT", f"{data.job}/files/{path}", body, [OCTETS, *headers])


async def get(data: Data, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
    return await data.portal.ask(method, f"{data.job}/files/{path}", headers=headers)


def sandbox(data: Data, settings: Settings) -> Path:
    root = settings.jobs.root
    assert root is not None
    (found,) = root.glob(f"**/{data.uid}")
    return found


async def test_a_file_there_and_back(data: Data) -> None:
    made = await put(data, "folder/file", b"0123456789")
    assert (made.status, made.json) == (201, {"path": "folder/file", "size": 10})
    found = await get(data, "folder/file")
    assert (found.status, found.body, found["ETag"]) == (200, b"0123456789", made["ETag"])
    assert (await put(data, "folder/file", b"new")).status == 200
    head = await get(data, "folder/file", method="HEAD")
    assert (head.status, head["Content-Length"], head["Accept-Ranges"]) == (200, "3", "bytes")
    assert head["ETag"] != made["ETag"]
    assert (await get(data, "folder/file", method="DELETE")).status == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert (await get(data, "folder/file", method=method)).status == 404


async def test_browsers_show_no_file(data: Data) -> None:
    await put(data, "x.html", b"<script>alert(1)</script>")
    found = await get(data, "x.html")
    assert found["Content-Type"] == "application/octet-stream"
    assert found["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in (found["Content-Security-Policy"] or "")
    assert found["Content-Disposition"] == "attachment; filename=\"x.html\"; filename*=UTF-8''x.html"


@pytest.mark.parametrize(
    ("value", "status", "body", "part"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("Bytes=0-999", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=-999", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_ranges(data: Data, value: str, status: int, body: bytes | None, part: str | None) -> None:
    await put(data, "f", b"0123456789")
    found = await get(data, "f", ("Range", value))
    assert (found.status, found["Content-Range"]) == (status, part)
    assert body is None or found.body == body


async def test_conditions_of_reading(data: Data) -> None:
    tag = str((await put(data, "f", b"0123456789"))["ETag"])
    for value in (tag, "*", f'"x", {tag}', f"W/{tag}"):
        found = await get(data, "f", ("If-None-Match", value))
        assert (found.status, found.body, found["ETag"]) == (304, b"", tag)
        assert (await get(data, "f", ("If-None-Match", value), method="HEAD")).status == 304
    assert (await get(data, "f", ("If-None-Match", '"x"'))).status == 200
    assert (await get(data, "f", ("If-Match", tag), ("Range", "bytes=1-1"))).body == b"1"
    assert (await get(data, "f", ("If-Match", '"x"'))).status == 412
    assert (await get(data, "f", ("If-Match", f"W/{tag}"))).status == 412
    assert (await get(data, "f", ("If-Match", "x"))).status == 400
    assert (await get(data, "f", ("Range", "bytes=1-1"), ("If-Range", tag))).status == 206
    assert (await get(data, "f", ("Range", "bytes=1-1"), ("If-Range", '"x"'))).status == 200
    assert (await get(data, "f", ("Range", "bytes=1-1"), ("If-Range", "Mon, 30 Nov 2026 00:00:00 GMT"))).status == 200


async def test_conditions_of_changes(data: Data) -> None:
    assert (await put(data, "f", b"1", ("If-Match", "*"))).status == 412
    first = await put(data, "f", b"1", ("If-None-Match", "*"))
    assert first.status == 201
    assert (await put(data, "f", b"2", ("If-None-Match", "*"))).status == 412
    second = await put(data, "f", b"2", ("If-Match", str(first["ETag"])))
    assert second.status == 200
    assert (await put(data, "f", b"3", ("If-Match", str(first["ETag"])))).status == 412
    assert (await put(data, "f", b"3", ("If-None-Match", '"x"'))).status == 400
    removal = ("If-Match", str(first["ETag"]))
    assert (await get(data, "f", removal, method="DELETE")).status == 412
    assert (await get(data, "f")).body == b"2"
    assert (await get(data, "f", ("If-Match", str(second["ETag"])), method="DELETE")).status == 204


async def test_of_uploads_at_once_with_one_condition_one_succeeds(data: Data) -> None:
    tag = str((await put(data, "f", b"0"))["ETag"])
    answers = await asyncio.gather(*[put(data, "f", b"%d" % n, ("If-Match", tag)) for n in range(1, 9)])
    assert sorted(answer.status for answer in answers) == [200, *[412] * 7]
    (winner,) = [n for n, answer in enumerate(answers, 1) if answer.status == 200]
    assert (await get(data, "f")).body == b"%d" % winner
    new = await asyncio.gather(*[put(data, "g", b"%d" % n, ("If-None-Match", "*")) for n in range(8)])
    assert sorted(answer.status for answer in new) == [201, *[412] * 7]


async def test_an_upload_that_is_cut_off_is_continued(data: Data, settings: Settings) -> None:
    body = bytes(range(256)) * 4096
    digest = hashlib.sha256(body).hexdigest()
    assert (await get(data, "f?partial=1", method="HEAD"))["X-Pagent-Offset"] == "0"
    _, writer = await asyncio.open_connection("127.0.0.1", data.portal.port)
    head = f"PUT {data.job}/files/f?partial=1&sha256={digest} HTTP/1.1\r\nHost: 127.0.0.1:{data.portal.port}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:500_000])
    await writer.drain()
    await eventually(lambda: [*sandbox(data, settings).glob(".pagent-upload-*")])
    writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while (kept := int((await get(data, "f?partial=1", method="HEAD"))["X-Pagent-Offset"] or 0)) == 0:
            pass
    assert 0 < kept <= 500_000
    assert (await get(data, "f")).status == 404
    beyond = await put(data, f"f?offset={kept + 1}&partial=1", body[kept + 1 :])
    assert (beyond.status, beyond["X-Pagent-Offset"]) == (409, str(kept))
    assert f"{kept} bytes" in beyond.json["detail"]
    done = await put(data, f"f?offset={kept}&partial=1&sha256={digest}", body[kept:])
    assert (done.status, done.json["size"]) == (201, len(body))
    assert (await get(data, "f")).body == body
    wrong = await put(data, f"f?sha256={digest}", b"other")
    assert wrong.status == 422
    assert (await get(data, "f")).body == body


async def test_lists_in_pages(data: Data) -> None:
    for number in range(5):
        await put(data, f"folder/{number}", b"x" * number)
    page = await data.portal.get(f"{data.job}/files/folder?list&limit=2")
    assert [(entry["path"], entry["size"], entry["type"]) for entry in page["entries"]] == [
        ("folder/0", 0, "file"),
        ("folder/1", 1, "file"),
    ]
    found = [entry["path"] for entry in page["entries"]]
    while page["next"] is not None:
        page = await data.portal.get(f"{data.job}/files/folder?list=1&limit=2&after={quote(page['next'])}")
        found += [entry["path"] for entry in page["entries"]]
    assert found == [f"folder/{number}" for number in range(5)]
    for target in ("files", "files/", "files/?list", "files/.?list"):
        if target != "files/":
            entries = (await data.portal.get(f"{data.job}/{target}"))["entries"]
            assert [(entry["path"], entry["type"]) for entry in entries] == [("folder", "dir")]
    below = await data.portal.get(f"{data.job}/files/?list&recursive")
    assert len(below["entries"]) == 6


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "folder", 409),
        ("GET", "", 400),
        ("GET", "folder/file/x", 409),
        ("GET", "folder/file?list", 409),
        ("GET", "none?list", 404),
        ("PUT", "folder", 409),
        ("PUT", "new/", 400),
        ("PUT", "folder/file/x", 409),
        ("DELETE", "folder", 409),
        ("DELETE", "", 400),
        ("GET", "../x", 400),
        ("PUT", "../x", 400),
        ("PUT", "a/../../x", 400),
        ("PUT", "/etc/passwd", 400),
        ("PUT", "%2Fetc%2Fpasswd", 400),
        ("PUT", "..%2Fx", 400),
        ("PUT", "a%00b", 400),
        ("PUT", ".pagent.stdout", 400),
        ("DELETE", ".pagent.stdout", 400),
        ("PUT", "f?offset=-1", 400),
        ("PUT", "f?offset=" + "9" * 30, 400),
        ("PUT", "f?sha256=x", 400),
        ("PUT", "f?executable=2", 400),
        ("PUT", "f?offset=5", 409),
        ("GET", "f?list=2", 400),
        ("PUT", "n" * 300, 400),
    ],
)
async def test_invalid_values_are_refused(data: Data, method: str, path: str, status: int) -> None:
    await put(data, "folder/file", b"x")
    answer = await data.portal.ask(method, f"{data.job}/files/{path}", b"x" if method == "PUT" else None, [OCTETS])
    assert answer.status == status, answer


async def test_fields_of_uploads_that_are_refused(data: Data) -> None:
    assert (await put(data, "f", b"x", ("Content-Range", "bytes 0-0/1"))).status == 400
    assert (await put(data, "f", b"x", ("Content-Encoding", "gzip"))).status == 415


@pytest.mark.parametrize("name", [b"\xff\xfe", "\u0434\u043e\u043c".encode(), b"a b", b"%41", b"a\r\nX: y", b'q"\\'])
async def test_names_in_every_spelling(data: Data, settings: Settings, name: bytes) -> None:
    assert (await put(data, quote(name), b"content")).status == 201
    assert (sandbox(data, settings) / name.decode("utf-8", "surrogateescape")).read_bytes() == b"content"
    (entry,) = (await data.portal.get(f"{data.job}/files?list"))["entries"]
    assert entry["path"] == to_wire(name.decode("utf-8", "surrogateescape"))
    for spelling in (quote(name), quote(entry["path"])):
        found = await get(data, spelling)
        assert (found.status, found.body) == (200, b"content")
        assert found["X"] is None
        assert (found["Content-Disposition"] or "").isascii()


async def test_executable_files(data: Data, settings: Settings) -> None:
    await put(data, "run?executable=1", b"#!/bin/sh\n")
    assert (sandbox(data, settings) / "run").stat().st_mode & 0o111


async def test_agents_of_the_field() -> None:
    async with running_router() as router, field_agent("F", router.server_port, TOKEN):
        link = await connected(router, "F")
        portal = Portal(router.control_port)
        files = f"/v1/jobs/{(await router.directory.create(link, 'job'))['uid']}/files"
        assert (await portal.ask("PUT", f"{files}/f", b"content", [OCTETS])).status == 200
        found = await portal.ask("GET", f"{files}/f", headers=[("Range", "bytes=1-2"), ("If-None-Match", '"x"')])
        assert (found.status, found.body, found["ETag"]) == (200, b"content", None)
        head = await portal.ask("HEAD", f"{files}/f")
        assert (head.status, head["Content-Length"]) == (200, "7")
        assert (await portal.ask("GET", f"{files}/none")).status == 404
        for method, target, headers in (
            ("GET", f"{files}?list", []),
            ("DELETE", f"{files}/f", []),
            ("HEAD", f"{files}/f?partial=1", []),
            ("PUT", f"{files}/f?offset=3", [OCTETS]),
            ("PUT", f"{files}/f", [OCTETS, ("If-Match", "*")]),
            ("GET", f"{files}/f", [("If-Match", '"x"')]),
        ):
            answer = await portal.ask(method, target, b"x" if method == "PUT" else None, headers)
            assert answer.status == 501, (method, target)


async def test_a_folder_is_made_and_removed_with_its_content(data: Data, settings: Settings) -> None:
    name = quote("new/with space/line\nfeed/" + "n" * 255 + "/\U0010feff")
    made = await data.portal.ask("PUT", f"{data.job}/files/{name}?folder=1")
    assert made.status == 201
    assert (await data.portal.ask("PUT", f"{data.job}/files/{name}?folder=1")).status == 200
    assert [*sandbox(data, settings).glob("new/*/*/*/*")] == [
        sandbox(data, settings) / "new/with space/line\nfeed" / ("n" * 255) / os.fsdecode(b"\xff")
    ]
    await put(data, "new/file", b"x")
    assert (await get(data, "new", method="DELETE")).status == 409
    assert (await get(data, "new?recursive=1", method="DELETE")).status == 204
    assert not (sandbox(data, settings) / "new").exists()
    assert (await get(data, "new?recursive=1", method="DELETE")).status == 404


async def test_folders_that_cannot_be_made(data: Data, settings: Settings, tmp_path: Path) -> None:
    await put(data, "file", b"x")
    (sandbox(data, settings) / "out").symlink_to(tmp_path)
    before = os.listdir(tmp_path)
    for path, status in (
        ("file", 409),
        ("file/below", 409),
        ("out", 409),
        ("out/x", 400),
        ("..%2fx", 400),
        ("%2fetc", 400),
        (".pagent.x", 409),
        ("a%00b", 400),
        ("n" * 256, 400),
    ):
        answer = await data.portal.ask("PUT", f"{data.job}/files/{path}?folder=1")
        assert answer.status == status, (path, answer)
        assert answer.json["detail"]
    assert (await data.portal.ask("PUT", f"{data.job}/files/x?folder=1", b"x", [OCTETS])).status == 400
    assert (await data.portal.ask("PUT", f"{data.job}/files/x?folder=1&partial=1")).status == 400
    assert os.listdir(tmp_path) == before
