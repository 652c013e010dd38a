"""Files and archives through the router's API."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from pagent.config.router import RouterControl
from pagent.router import Router
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import agent_of, ask, connected, router_settings, running_router

OCTETS = ("Content-Type", "application/octet-stream")
MIB = 1024 * 1024


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router(router_settings(control=RouterControl(body_s=0.5))) as running:
        yield running


@pytest.fixture
async def job(router: Router, tmp_path: Path) -> AsyncIterator[str]:
    """The path of a job on an agent of ours."""
    async with agent_of(router, tmp_path):
        yield await new_job(router, "A")


async def new_job(router: Router, uid: str) -> str:
    answer = await ask(
        router.control_port, "POST", "/jobs/create", {"name": "job", "agent": {"type": "uid", "uid": uid}}
    )
    return str(answer.json["path"])


async def test_a_large_file_goes_there_and_back(router: Router, job: str) -> None:
    data = bytes(range(256)) * (16 * MIB // 256)
    assert (await ask(router.control_port, "POST", f"{job}/file/a/b", data, [OCTETS])).status == 200
    answer = await ask(router.control_port, "GET", f"{job}/file/a/b")
    assert answer["Content-Length"] == str(len(data))
    assert answer.body == data


async def test_names_keep_their_doubled_slashes_and_what_is_encoded(router: Router, job: str) -> None:
    for name in ("a%20b", "%D1%8F", "c%2Fd"):
        assert (await ask(router.control_port, "POST", f"{job}/file/{name}", b"x", [OCTETS])).status == 200
        assert (await ask(router.control_port, "GET", f"{job}/file/{name}")).body == b"x"
    assert (await ask(router.control_port, "GET", f"{job}/file/c/d")).body == b"x"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".pagent.stdout", "a%00b"])
async def test_a_bad_path_is_400_and_the_connection_is_not_reset(name: str, router: Router, job: str) -> None:
    answer = await ask(router.control_port, "POST", f"{job}/file/{name}", b"x" * 100_000, [OCTETS])
    assert answer.status == 400


@pytest.mark.parametrize("query", ["executable=2", "executable=yes", "executable="])
async def test_a_flag_that_is_none(query: str, router: Router, job: str) -> None:
    assert (await ask(router.control_port, "POST", f"{job}/file/x?{query}", b"x", [OCTETS])).status == 400


async def test_an_upload_that_is_cut_off_leaves_no_file(router: Router, job: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", router.control_port)
    head = f"POST {job}/file/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    (link,) = router.directory.table
    async with asyncio.timeout(PATIENCE_S):
        await link.calls_ended()
    assert (await ask(router.control_port, "GET", f"{job}/file/x")).status == 404


async def test_a_body_that_makes_no_progress_is_408(router: Router, job: str) -> None:
    for target in (f"{job}/file/x", "/jobs/create"):
        headers = [OCTETS, ("Content-Length", "100")]
        answer = await ask(router.control_port, "POST", target, b"half", headers)
        assert answer.status == 408


async def test_json_that_is_too_long_is_413(router: Router, job: str) -> None:
    body = json.dumps({"args": ["x" * 2 * MIB], "env": {}})
    assert (await ask(router.control_port, "POST", f"{job}/start", body)).status == 413


async def test_an_archive_goes_there_and_back(router: Router, job: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("folder/file")
        entry.size = 7
        archive.addfile(entry, io.BytesIO(b"content"))
    assert (await ask(router.control_port, "POST", f"{job}/archive", packed.getvalue(), [OCTETS])).status == 200
    for query, mode in (("", "r:"), ("?compress=1", "r:gz"), ("?include=*file&exclude=*.x", "r:")):
        answer = await ask(router.control_port, "GET", f"{job}/archive{query}")
        with tarfile.open(fileobj=io.BytesIO(answer.body), mode=mode) as archive:
            found = archive.extractfile("folder/file")
            assert found is not None
            assert found.read() == b"content"


async def test_a_download_whose_link_is_lost_is_cut_off(router: Router, job: str) -> None:
    await ask(router.control_port, "POST", f"{job}/file/x", bytes(32 * MIB), [OCTETS])
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # the host's buffers might take all of the file
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", router.control_port))
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(f"GET {job}/file/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    (link,) = router.directory.table
    link.connection.link.abort("the test breaks it")
    with suppress(ConnectionResetError):
        assert len(await reader.read()) < 32 * MIB
    writer.close()


async def test_a_slow_client_gets_all_from_an_agent_without_flow_control(router: Router) -> None:
    async with field_agent("F", router.server_port, TOKEN):
        await connected(router, "F")
        job = await new_job(router, "F")
        data = bytes(range(256)) * (24 * MIB // 256)
        assert (await ask(router.control_port, "POST", f"{job}/file/x", data, [OCTETS])).status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", router.control_port)
        writer.write(f"GET {job}/file/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)  # meanwhile the agent sends all of it
        assert (await ask(router.control_port, "GET", f"{job}/info")).status == 200
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_a_body_announced_with_expect_is_asked_for_if_the_request_may_pass(router: Router, job: str) -> None:
    for host, first in (("127.0.0.1", b"HTTP/1.1 100 Continue\r\n"), ("evil.example", b"HTTP/1.1 403 Forbidden\r\n")):
        reader, writer = await asyncio.open_connection("127.0.0.1", router.control_port)
        head = f"POST {job}/file/x HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        writer.write(f"{head}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readline() == first
            if host == "127.0.0.1":
                writer.write(b"data")
                assert b"\r\nHTTP/1.1 200 OK\r\n" in await reader.read()
        writer.close()


async def test_head_is_answered_as_get(router: Router, job: str) -> None:
    for target in ("/info", "/livez", f"{job}/info"):
        get, head = [await ask(router.control_port, method, target) for method in ("GET", "HEAD")]
        assert (head.status, head.body) == (200, b"")
        assert head["Content-Length"] == get["Content-Length"]
