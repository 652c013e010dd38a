"""SIGHUP: the agent reads its configuration again, and keeps its jobs and links."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.kit import peer as peers
from tests.kit.agents import AgentProcess, agent_process
from tests.kit.peer import PATIENCE_S, Peer
from tests.kit.terminal import Terminal
from tests.web.requests import ask


async def reloaded(agent: AgentProcess, words: str = "the configuration is read again") -> None:
    """Send SIGHUP, and wait until its result is logged."""
    agent.log.clear()
    agent.signal(signal.SIGHUP)
    await agent.says(words)


async def close_code(peer: Peer) -> int | None:
    """Wait until the agent closes the link, and return the close code."""
    async with asyncio.timeout(PATIENCE_S):
        await peer.socket.wait_closed()
    return peer.socket.close_code


async def test_only_links_of_a_removed_token_are_closed(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first\nsecond\n")
    options = ("--token-file", str(file))
    (tmp_path / "jobs").mkdir()
    async with (
        agent_process(tmp_path / "jobs", *options, accepts=False, env={"PAGENT_TOKEN": "own"}) as agent,
        peers.dial(agent.ports["rpc"], "first") as first,
        peers.dial(agent.ports["rpc"], "second") as second,
        peers.dial(agent.ports["rpc"], "own") as own,
    ):
        file.write_text("# first is removed\nsecond\nthird\n")
        await reloaded(agent)
        assert await close_code(first) == 1008
        for peer in (second, own):
            assert await peer.call("job_count_current_connection") == 0
        async with peers.dial(agent.ports["rpc"], "third") as third:
            assert await third.call("job_count_current_connection") == 0
        with pytest.raises((ConnectionClosed, AssertionError)):
            async with peers.dial(agent.ports["rpc"], "first"):
                pass
        assert not [line for line in agent.log if any(token in line for token in ("second", "third", "own'"))]


@pytest.mark.parametrize("broken", ["tokens", "configuration", "certificate"])
async def test_a_file_that_cannot_be_read_changes_nothing(
    tmp_path: Path, certificate: tuple[Path, Path], broken: str
) -> None:
    tokens, configuration = tmp_path / "tokens", tmp_path / "agent.yaml"
    tokens.write_text("a-token\n")
    configuration.write_text("properties: {name: before}\n")
    tls = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    options = ("--config", str(configuration), "--set", f"server.tls={tls!r}", "--token-file", str(tokens))
    (tmp_path / "jobs").mkdir()
    async with agent_process(tmp_path / "jobs", *options, accepts=False) as agent:
        configuration.write_text("properties: {name: after}\n")
        file = {"tokens": tokens, "configuration": configuration, "certificate": certificate[0]}[broken]
        content = file.read_bytes()
        file.unlink()
        await reloaded(agent, "the configuration is not read again, and nothing changes: .*No such file")
        info = json.loads((await ask(agent.ports["control"], "GET", "/info")).body)
        assert info["properties"] == {"name": "before"}
        assert len([line for line in agent.log if "read again" in line]) == 1
        file.write_bytes(content)
        await reloaded(agent)
        if broken != "configuration":
            info = json.loads((await ask(agent.ports["control"], "GET", "/info")).body)
            assert info["properties"] == {"name": "after"}


async def test_properties_reach_new_jobs_and_links(tmp_path: Path) -> None:
    configuration = tmp_path / "agent.yaml"
    configuration.write_text("properties: {name: before}\n")
    (tmp_path / "jobs").mkdir()
    async with agent_process(tmp_path / "jobs", "--config", str(configuration)) as agent:
        token = "a-token-of-the-tests"
        async with peers.dial(agent.ports["rpc"], token) as old:
            assert old.hello[2][2]["properties"] == {"name": "before"}
            configuration.write_text("properties: {name: after}\n")
            await reloaded(agent)
            async with peers.dial(agent.ports["rpc"], token) as new:
                assert new.hello[2][2]["properties"] == {"name": "after"}
            job = (await old.call("job_create"))["uid"]
            await old.call("job_start", job, ["sh", "-c", 'test "$DA__PAGENT__name" = after'], {}, None, 0)
            assert (await old.call("job_wait", job))["exit_code"] == 0


async def test_the_level_of_the_log(tmp_path: Path) -> None:
    configuration = tmp_path / "agent.yaml"
    configuration.write_text("log_level: info\n")
    (tmp_path / "jobs").mkdir()
    async with agent_process(
        tmp_path / "jobs", "--config", str(configuration), "--log-level", "info", "--connection-debug"
    ) as agent:
        configuration.write_text("log_level: warning\nproperties: {now: warning}\n")
        agent.signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while b'"now"' not in (await ask(agent.ports["control"], "GET", "/info")).body:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        agent.log.clear()
        async with peers.dial(agent.ports["rpc"], "a-token-of-the-tests"):
            pass
        assert not [line for line in agent.log if "INFO" in line]
        configuration.write_text("")
        await reloaded(agent)  # the level of the option


async def test_a_new_certificate_is_used_for_the_next_connection(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    made, key = certificate

    def serial() -> str:
        return ssl.get_server_certificate(("127.0.0.1", agent.ports["rpc"]))

    tls = {"certificate": str(made), "key": str(key)}
    (tmp_path / "jobs").mkdir()
    async with agent_process(tmp_path / "jobs", "--set", f"server.tls={tls!r}") as agent:
        before = await asyncio.to_thread(serial)
        command = ["openssl", "req", "-x509", "-key", key, "-subj", "/CN=localhost", "-out", made]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=PATIENCE_S)
        await reloaded(agent)
        assert await asyncio.to_thread(serial) != before


async def test_control_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first\n")
    (tmp_path / "jobs").mkdir()
    async with agent_process(tmp_path / "jobs", "--set", f"control.token_file={str(file)!r}") as agent:

        async def status(token: str) -> int:
            fields = {"Authorization": f"Bearer {token}"}
            return (await ask(agent.ports["control"], "GET", "/info", fields)).status

        assert (await status("first"), await status("second")) == (200, 401)
        file.write_text("second\n")
        await reloaded(agent)
        assert (await status("first"), await status("second")) == (401, 200)


async def test_a_new_client_token_is_used_for_the_next_dial(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    (tmp_path / "jobs").mkdir()
    async with peers.listen() as listener:
        client = {"enabled": True, "address": f"127.0.0.1:{listener.port}", "token_file": str(file)}
        client["reconnect_delay"] = 0.2
        async with agent_process(tmp_path / "jobs", "--set", f"client={client!r}") as agent:
            router = await listener.accepted()
            assert router.hello[2][2]["auth"]["token"] == "first"
            file.write_text("second\n")
            await reloaded(agent)
            assert await router.call("job_count_current_connection") == 0
            await router.close()
            assert (await listener.accepted()).hello[2][2]["auth"]["token"] == "second"


async def test_exposed_tokens_are_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("a-secret\n")
    file.chmod(0o644)
    (tmp_path / "jobs").mkdir()
    async with agent_process(tmp_path / "jobs", "--token-file", str(file)) as agent:
        await agent.says(
            r"WARNING .*--set server\.accept_tokens: every user of this machine can read a token on a command line"
        )
        await agent.says(rf"WARNING .*{file}: every user of this machine can read this file of tokens; run chmod 600")


async def test_isolation_with_an_open_control_api_is_warned_of(tmp_path: Path) -> None:
    async with agent_process(tmp_path, "--set", "jobs.isolation.no_new_privs=True") as agent:
        await agent.says("WARNING .*jobs.isolation is set, but jobs can use the control API")


def test_with_a_terminal_it_ends_on_hangup(tmp_path: Path) -> None:
    with closing(Terminal()) as terminal:
        words = [sys.executable, "-m", "pagent", "--set", f"jobs.root={str(tmp_path)!r}"]
        with subprocess.Popen(words, stdin=terminal.device, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                assert next(line for line in process.stderr if "started: uid=" in line)
                process.send_signal(signal.SIGHUP)
                assert process.wait(PATIENCE_S) == 0
            finally:
                process.kill()
