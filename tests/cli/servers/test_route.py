"""``pagent route`` as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import websockets

from tests.kit.agents import TOKEN, AgentProcess, agent_process, router_process
from tests.kit.peer import PATIENCE_S, dial
from tests.kit.programs import serving
from tests.kit.routers import ask
from tests.kit.transfers import eventually

UID = ["--set", "identity.uid='R'"]


async def connections(router: AgentProcess) -> list[str]:
    """The uids of the agents that are connected."""
    answer = await ask(router.ports["control"], "GET", "/connections")
    return [each["peer"]["auth"]["uid"] for each in answer.json["connections"]]


async def test_the_start_line_and_a_graceful_end() -> None:
    for end in (signal.SIGTERM, signal.SIGINT, None):
        async with router_process(*UID) as router:
            assert router.uid == "R"
            assert set(router.ports) == {"server", "control"}
            assert (await ask(router.ports["control"], "GET", "/info")).json["auth"] == {"uid": "R", "name": "router"}
            if end is None:
                assert (await ask(router.ports["control"], "POST", "/shutdown")).status == 200
            else:
                router.signal(end)
            assert await router.ended() == 0
            bad = [line for line in router.log if "WARNING" in line or "ERROR" in line]
            assert [line for line in bad if "--set server.accept_tokens" not in line] == []


async def test_the_console_script_prouter() -> None:
    code = "import sys; sys.argv[0] = 'prouter'; from pagent.cli import router; router()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "--set", "server.prot=1", stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert (process.returncode, stderr.decode()) == (
        2,
        "pagent: server.prot: unknown key; did you mean server.port? (pagent help unknown-key)\n",
    )


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ([], r"identity\.uid is null: jobs are not found again after a restart of this router"),
        ([*UID, "--set", "server.accept_tokens=[]"], r"server\.accept_tokens is empty: no agent can dial in"),
        (
            [*UID, "--set", "control.interface=None"],
            r"the router is open on control \(all addresses, port \d+\): ",
        ),
        (UID, r"--set server\.accept_tokens: every user of this machine can read a token on a command"),
    ],
)
async def test_warnings_at_start(options: list[str], warning: str) -> None:
    async with router_process(*options) as router:
        await router.says(f"WARNING .*{warning}")


async def test_a_listener_that_cannot_be_had_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("server", "control"):
            async with router_process("--set", f"{name}.port={port}", started=False) as router:
                await router.says(f"pagent: {name}: cannot listen on port {port} of 127.0.0.1")
                assert await router.ended() == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("control.trusted_proxies=['x']", "control.trusted_proxies: "),
        ("dial.allow=['http://x']", "dial.allow: 'http://x' is no host, host:port or network"),
        ("dial.agents=['no port']", r"dial.agents\[0\]: 'no port' "),
        ("control.tls.key='x'", "control.tls: a key or ca is set"),
    ],
)
async def test_a_configuration_that_cannot_be_used_is_named(option: str, words: str) -> None:
    async with router_process("--set", option, started=False) as router:
        await router.says(f"pagent: {words}")
        assert await router.ended() == 2


async def test_agents_dial_in_at_one_path_only() -> None:
    async with router_process(*UID) as router:
        assert (await ask(router.ports["server"], "GET", "/info")).status == 404
        async with dial(router.ports["server"], TOKEN, uid="A"):
            await router.says("agent 'A' .* is connected")
            assert await connections(router) == ["A"]
        with pytest.raises(websockets.ConnectionClosed):
            async with dial(router.ports["server"], "another", uid="A"):
                pass


async def test_sighup_takes_tokens_over_and_closes_links_whose_token_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first\nsecond\n")
    file.chmod(0o600)
    async with router_process(*UID, "--set", f"server.accept_tokens_file={str(file)!r}") as router:
        port = router.ports["server"]
        async with dial(port, "first", uid="1") as first, dial(port, "second", uid="2") as second:
            await router.says("agent '1' .* is connected")
            await router.says("agent '2' .* is connected")
            file.write_text("second\nthird\n")
            router.signal(signal.SIGHUP)
            await router.says("the configuration is read again; accepted tokens: 3")
            async with asyncio.timeout(PATIENCE_S):
                await first.socket.wait_closed()
            assert first.socket.close_code == 1008
            async with dial(port, "third", uid="3"):
                assert set(await connections(router)) == {"2", "3"}
            file.unlink()
            router.signal(signal.SIGHUP)
            await router.says(
                "ERROR .*the configuration is not read again, and nothing changes: server.accept_tokens_file"
            )
            assert second.socket.close_code is None
            async with dial(port, "third", uid="3"):
                pass


#: Makes a file for each request, with the name of its path, and answers when there is the file ``go-<path>``.
HOLDS = serving("""
async def serve(reader, writer):
    name = (await reader.readuntil(b"\\r\\n\\r\\n")).split(b" ")[1].strip(b"/").decode()
    folder = sys.argv[2]
    open(os.path.join(folder, name), "x").close()
    while not os.path.exists(os.path.join(folder, f"go-{name}")):
        await asyncio.sleep(0.01)
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nheld")
    await writer.drain()
""")


async def test_a_signal_lets_requests_end_and_the_second_does_not_wait(tmp_path: Path) -> None:
    # No second asks for the end of a process that has ended.
    for paths, signals in ((["held"], 1), (["held", "never"], 2)):
        folder = tmp_path / str(signals)
        folder.mkdir()
        command = [sys.executable, "-c", HOLDS, "{port}", str(folder)]
        async with router_process(*UID, "--set", "control.drain_s=600", "--with-agent", "--", *command) as router:
            path = (await router.says(r"http://127.0.0.1:\d+(/jobs/\S+/http/) forwards"))[1]
            port = router.ports["control"]
            requests = [asyncio.ensure_future(ask(port, "GET", f"{path}{each}")) for each in paths]
            await eventually(lambda folder=folder, paths=paths: {*paths} <= {*os.listdir(folder)})  # type: ignore[misc]
            router.signal(signal.SIGTERM)
            await router.says("the router ends")
            (folder / "go-held").touch()
            answers = [(await requests[0]).text]
            if signals == 2:
                router.signal(signal.SIGTERM)
                answers.append((await requests[1]).text)
            assert answers == ["held", "the router ends"][:signals]
            assert await router.ended() == 0


async def test_the_second_signal_ends_the_jobs_of_an_embedded_agent_at_once(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    async with router_process(*UID, "--with-agent", env={"TMPDIR": str(tmp_path)}) as router:
        await router.says("agent 'R-agent' .* is connected")
        port = router.ports["control"]
        choice = {"type": "uid", "uid": "R-agent"}
        job = (await ask(port, "POST", "/jobs/create", {"name": "x", "agent": choice})).json["path"]
        start = {"args": [sys.executable, "-c", program], "env": {}, "port_expected_count": 0}
        assert (await ask(port, "POST", f"{job}/start", start)).status == 200
        async with asyncio.timeout(PATIENCE_S):
            while (await ask(port, "GET", f"{job}/file/.pagent.stdout")).text != "ready\n":  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        router.signal(signal.SIGTERM)
        await router.says("the router ends")
        await router.says("the agent ends")
        router.signal(signal.SIGTERM)
        assert await router.ended() == 0
    assert os.listdir(tmp_path) == []


async def test_a_command_is_the_first_job_of_an_embedded_agent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    async with router_process(*UID, "--with-agent", "--", *command, cwd=tmp_path) as router:
        found = await router.says(r"pagent: http://127\.0\.0\.1:(\d+)(/jobs/\S+/http/) forwards to the job")
        assert (await ask(int(found[1]), "GET", f"{found[2]}file")).text == "content"


async def test_a_command_has_a_host_name_where_the_apps_listener_is_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    options = [*UID, "--with-agent", "--set", "apps.enabled=True"]
    async with router_process(*options, "--", *command, cwd=tmp_path) as router:
        found = await router.says(r"pagent: http://(\w{32}\.localhost):(\d+)/ forwards to the job")
        assert (await ask(int(found[2]), "GET", "/file", host=found[1])).text == "content"


async def test_a_command_that_cannot_be_started_ends_the_router_with_1(tmp_path: Path) -> None:
    for command in (["/no/such/program"], [sys.executable, "-c", "raise SystemExit(3)"]):
        async with router_process(*UID, "--with-agent", "--", *command, cwd=tmp_path) as router:
            await router.says("pagent: the command is not started: ")
            assert await router.ended() == 1
            assert [line for line in router.log if "Traceback" in line] == []


async def test_agents_of_the_configuration_are_dialled_again_and_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    (tmp_path / "jobs").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agents = [{"address": f"127.0.0.1:{port}", "token_file": str(token)}]
    options = ["--set", f"server.port={port}", "--set", "identity.uid='L'"]
    async with router_process(*UID, "--set", f"dial.agents={agents!r}") as router:
        await router.says("agent at .* dialling again")
        for _ in range(2):
            async with agent_process(tmp_path / "jobs", *options):
                await router.says("agent 'L' .* is connected")
                assert await connections(router) == ["L"]
            router.log.clear()


async def test_tls_on_both_listeners_with_certificates_that_are_read_again(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    options = []
    for name in ("server", "control"):
        options += ["--set", f"{name}.tls.certificate={str(certificate[0])!r}"]
        options += ["--set", f"{name}.tls.key={str(certificate[1])!r}"]
    async with router_process(*UID, *options) as router:
        before = _certificate_of(router.ports["control"])
        assert before == _certificate_of(router.ports["server"])
        _make_another(certificate)
        router.signal(signal.SIGHUP)
        await router.says("the configuration is read again")
        after = _certificate_of(router.ports["control"])
        assert after == _certificate_of(router.ports["server"])
        assert after != before


def _certificate_of(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_S)


def _make_another(certificate: tuple[Path, Path]) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=another", "-keyout", str(certificate[1]), "-out", str(certificate[0])]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
