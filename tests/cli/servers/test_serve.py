"""``pagent serve`` as a process: start, invalid configuration, end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import pagent
from pagent.config.model import Settings
from pagent.config.schema import keys
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.peer import PATIENCE_S

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def refused(*arguments: str, env: dict[str, str] | None = None) -> list[str]:
    """Run an agent that ends with code 2, and return the lines of stderr without its log."""
    result = subprocess.run(
        [sys.executable, "-m", "pagent", "--log-level", "fatal", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
        env=os.environ | (env or {}),
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    return result.stderr.splitlines()


@pytest.fixture
def used_port() -> Iterator[int]:
    """Return a port that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# --- start ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [[], ["serve"]], ids=["no command", "serve"])
async def test_three_ports_of_the_loopback_and_no_other(tmp_path: Path, word: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pagent", *word, "--set", f"jobs.root={str(tmp_path)!r}",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"started: uid=" not in (line := await process.stderr.readline()):
                assert line
        logged = {int(part.partition("=")[2]) for part in line.decode().split() if part[:3] in ("rpc", "con", "rep")}
        found = psutil.Process(process.pid).net_connections("inet")
        assert {(c.status, c.laddr.ip, c.laddr.port) for c in found} == {
            (psutil.CONN_LISTEN, "127.0.0.1", port) for port in logged
        }
        assert len(logged) == len(found) == 3
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            _, code = await asyncio.gather(process.stderr.read(), process.wait())
        assert code == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("interface", ["None", "'::'"])
async def test_all_addresses_are_those_of_both_families(tmp_path: Path, interface: str) -> None:
    options = ("--set", f"server.interface={interface}", "--set", f"control.interface={interface}")
    async with agent_process(tmp_path, *options) as agent:
        await agent.says("WARNING .*control.interface is not of the loopback, and there is no control.token")
        for host in ("127.0.0.1", "[::1]"):
            url = f"http://{host}:{agent.ports['control']}/jobs"
            with await asyncio.to_thread(urllib.request.urlopen, url, timeout=PATIENCE_S) as answer:
                assert answer.read() == b'{"jobs":[]}'
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection(host.strip("[]"), agent.ports["rpc"])
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert b" 404 " in await reader.readline()
                writer.close()


async def test_the_start_line_and_the_loop_are_logged(tmp_path: Path) -> None:
    async with agent_process(tmp_path, "--set", "identity.uid='its-uid'") as agent:
        ours = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        await agent.says(rf"event loop: {ours}$")
        await agent.says(r"pagent \S+ started: uid=its-uid rpc=\d+ control=\d+ report=\d+$")


def test_it_runs_from_the_same_sources_with_the_same_flags_as_the_tests(tmp_path: Path) -> None:
    words = "import sys, pagent; print(sys.flags.optimize, pagent.is_compiled(), pagent.__file__)"
    result = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == f"{sys.flags.optimize} {pagent.is_compiled()} {pagent.__file__}\n"


async def test_the_log_has_the_level_and_format_asked_for(tmp_path: Path) -> None:
    async with agent_process(tmp_path, "--log-level", "info", "--log-format", "<%(levelname)s> %(message)s") as agent:
        assert (await agent.says("started")).string.startswith("<INFO> pagent ")


async def test_connection_debug_logs_messages_but_no_token(tmp_path: Path) -> None:
    async with agent_process(tmp_path, "--connection-debug") as agent:
        async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
            assert await peer.call("job_count_current_connection") == 0
            await agent.says(r"DEBUG .*127\.0\.0\.1.*: received a handshake of call 1, \d+ bytes$")
            await agent.says(r"DEBUG .*\w{32}: received a call start of call 2, \d+ bytes$")
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        assert TOKEN not in "\n".join(agent.log)


def test_help_ends_with_every_key() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pagent", "serve", "--help"], capture_output=True, text=True, check=True
    )
    listed = result.stdout.partition("Configuration keys")[2]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and not line.startswith("   ")]
    assert names == [key.name for key in keys(Settings)]


# --- invalid configuration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "server.prot=1"], "server.prot: unknown key; did you mean server.port?"),
        (["--set", "nonsense=1"], "nonsense: unknown key"),
        (["--set", "server.port=x"], "server.port: x is not a Python literal"),
        (["--set", "server.port='1'"], "server.port: expected an integer, got a string"),
        (["--set", "server.port=70000"], "server.port: must be from 0 to 65535"),
        (["--property", "x"], "--property x: expected name=value"),
        (["--config", "/nowhere/agent.yaml"], "/nowhere/agent.yaml: No such file or directory"),
        (["--log-format", "%(nonsense)s"], "--log-format: "),
        (["--set", "server.enabled=False"], "neither server mode nor client mode is enabled"),
        (["--set", "server.enabled=False", "--set", "client.enabled=True"], "neither server mode nor client mode"),
        (["--set", "client.enabled=true"], "client.enabled: true is not a Python literal; write True, as in Python"),
        (["--set", "control.allowed_hosts=[a]"], "control.allowed_hosts: [a] is not a Python literal; strings in it"),
        (
            ["--set", "client.enabled=True", "--set", "client.address='http://x:1'"],
            "client.address: 'http://x:1' is not a valid address",
        ),
        (["--set", "jobs.root='/nowhere'"], "jobs.root: no sandboxes can be made in /nowhere: No such file"),
        (["--set", "server.tls.certificate='/nowhere'"], "server.tls.certificate: /nowhere: No such file"),
        (["--set", "server.tls.ca='/nowhere'"], "server.tls: a key or ca is set, which needs server.tls.certificate"),
        (["--set", "server.interface='192.0.2.1'"], "server: cannot listen on port 0 of 192.0.2.1: "),
    ],
)
def test_an_invalid_configuration_is_one_line_that_names_the_key(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (line,) = refused("--set", f"jobs.root={str(tmp_path)!r}", *arguments)
    assert line.startswith(f"pagent: {words}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("section", ["server", "control"])
def test_a_port_in_use(tmp_path: Path, used_port: int, section: str) -> None:
    (line,) = refused("--set", f"jobs.root={str(tmp_path)!r}", "--set", f"{section}.port={used_port}")
    said = f"pagent: {section}: cannot listen on port {used_port} of 127.0.0.1: Address already in use"
    assert line == f"{said} (pagent help port-taken)"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"tls": {"key": "k"}}, "client.tls: a key is set, which needs client.tls.certificate as well"),
        ({"tls": {"ca": "/nowhere"}}, "client.tls.ca: /nowhere: No such file or directory"),
        ({"tls": {"certificate": __file__}}, f"client.tls.certificate: {__file__}: must be a certificate"),
    ],
)
def test_invalid_client_tls_is_found_before_the_dial(client: dict[str, object], words: str) -> None:
    client |= {"enabled": True, "address": "wss://127.0.0.1:1"}
    (line,) = refused("--set", f"client={client!r}")
    assert line.startswith(f"pagent: {words}")


def test_an_unknown_loop() -> None:
    assert refused(env={"PAGENT_LOOP": "tokio"}) == [
        "pagent: PAGENT_LOOP: must be asyncio or uvloop (pagent help wrong-value)"
    ]


# --- end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_it_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    async with agent_process(tmp_path) as agent:
        agent.signal(number)
        assert await agent.ended() == 0
    assert os.listdir(tmp_path) == []


def test_under_nohup_it_outlives_its_terminal(tmp_path: Path) -> None:
    # Started by a shell, because event loops reset ignored signals in their children.
    words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-m", "pagent"]
    words += ["--set", f"jobs.root={str(tmp_path)!r}"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = next(found[1] for line in process.stderr if (found := re.search(r"control=(\d+)", line)))
            process.send_signal(signal.SIGHUP)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs", timeout=PATIENCE_S) as answer:
                assert answer.read() == b'{"jobs":[]}'
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


# --- client mode ------------------------------------------------------------------------------------


async def test_both_modes_at_once(tmp_path: Path) -> None:
    async with peers.listen() as listener:
        address = f"client={{'enabled': True, 'address': '127.0.0.1:{listener.port}'}}"
        async with agent_process(tmp_path, "--set", address) as agent:
            router = await listener.accepted()
            async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
                mine = await peer.call("job_create", "mine")
                its = await router.call("job_create", "its")
                assert (mine["sender"]["direction"], its["sender"]["direction"]) == ("SERVER", "CLIENT")
                assert await peer.call("job_count_current_connection") == 1


async def test_a_router_that_comes_up_later(tmp_path: Path) -> None:
    # Bound and not listening: a dial is refused, and no other socket gets the port.
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
        client = {"enabled": True, "address": f"ws://127.0.0.1:{port}/rpc/v1", "reconnect_delay": 0.2}
        async with agent_process(tmp_path, "--set", f"client={client!r}") as agent:
            await agent.says(rf"no link with 127\.0\.0\.1:{port}: .*refused; dialling again in \d\.\d s")
            place.listen()
            loop = asyncio.get_running_loop()
            place.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                dialled, _ = await loop.sock_accept(place)
            with dialled:
                assert (await loop.sock_recv(dialled, 4096)).startswith(b"GET /rpc/v1 HTTP/1.1\r\n")
            await agent.says("closed during the WebSocket handshake.*; dialling again")


async def test_warnings_at_the_start(tmp_path: Path) -> None:
    options = ("--set", "server.accept_tokens=[]", "--set", "control.interface='0.0.0.0'")
    async with agent_process(tmp_path, *options) as agent:
        await agent.says("WARNING .*server.accept_tokens is empty: no router can dial in")
        await agent.says("WARNING .*control.interface is not of the loopback, and there is no control.token")
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        assert [line for line in agent.log if "the agent ends, with exit code 0" in line]


async def test_the_shortest_reconnect_delay(tmp_path: Path, unused_tcp_port: int) -> None:
    client = {"enabled": True, "address": f"127.0.0.1:{unused_tcp_port}", "reconnect_delay": 0}
    async with agent_process(tmp_path, "--set", f"client={client!r}") as agent:
        await agent.says(r"dialling again in 0\.1 s")


async def test_a_lost_link_is_dialled_again(tmp_path: Path) -> None:
    async with peers.listen() as listener:
        client = {"enabled": True, "address": f"127.0.0.1:{listener.port}", "reconnect_delay": 0.2}
        async with agent_process(tmp_path, "--set", f"client={client!r}"):
            first = await listener.accepted()
            await first.close()
            second = await listener.accepted()
            assert await second.call("job_count_current_connection") == 0
            assert first.hello[2][2]["auth"]["uid"] == second.hello[2][2]["auth"]["uid"]


async def test_exit_on_fail_when_the_dial_is_refused(tmp_path: Path) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        client = {"enabled": True, "address": f"127.0.0.1:{place.getsockname()[1]}", "exit_on_fail": True}
        async with agent_process(tmp_path, "--set", f"client={client!r}") as agent:
            assert await agent.ended() == 1
            await agent.says("ERROR .*no link with .*refused")


async def test_exit_on_fail_when_the_link_is_lost(tmp_path: Path) -> None:
    async with peers.listen() as listener:
        client = {"enabled": True, "address": f"127.0.0.1:{listener.port}", "exit_on_fail": True}
        async with agent_process(tmp_path, "--set", f"client={client!r}") as agent:
            router = await listener.accepted()
            await router.close()
            assert await agent.ended() == 1


async def test_client_mode_without_an_address_warns_and_is_off(tmp_path: Path) -> None:
    async with agent_process(tmp_path, "--set", "client.enabled=True") as agent:
        await agent.says("WARNING .*client mode has no client.address and is turned off")
        async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
            assert await peer.call("job_count_current_connection") == 0
