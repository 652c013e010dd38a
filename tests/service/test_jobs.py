"""The job methods end to end, as a router of the field calls them, and the methods and arguments of pAgent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client.agent import connect_agent
from pagent.config.model import ClientSettings, IsolationSettings, Settings
from pagent.errors import ConfigError
from tests.jobs.conftest import gone, is_alive
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.programs import ECHO, start_program

PYTHON = sys.executable

#: Listens on as many ports as its argument says, reports each, writes the answers down, then waits.
REPORTS = """
import os, signal, socket, sys, urllib.error, urllib.request
endpoint, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
for listening in sockets:
    with urllib.request.urlopen(f"{endpoint}?job_id={job}&port={listening.getsockname()[1]}") as answer:
        print(answer.status, answer.read().decode(), flush=True)
signal.pause()
"""


#: Prints the id of its port reports, then waits.
TELLS_ITS_ID = ["sh", "-c", 'echo "$DA__PAGENT__JOB_ID"; exec sleep 1000']


async def new_job(peer: Peer, name: str | None = None, **options: Any) -> str:
    return str((await peer.call("job_create", name, **options))["uid"])


async def shell(peer: Peer, script: str, env: dict[str, str] | None = None, **options: Any) -> str:
    """A job that runs a script, awaiting no port."""
    job = await new_job(peer)
    await peer.call("job_start", job, ["sh", "-c", script], env, port_expected_count=0, **options)
    return job


async def output(peer: Peer, job: str, stream: str = "stdout", **options: Any) -> bytes:
    call = await peer.start(peers.ISTREAM, "job_logs", job, stream, follow=True, **options)
    values, _ = await peer.outcome(call)
    return b"".join(values)


async def first_line(peer: Peer, job: str) -> str:
    """The first line that the job writes, while it runs."""
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    text = b""
    while b"\n" not in text:
        text += (await peer.next_of(call))[2]
    await peer.cancel(call)
    return text.split(b"\n")[0].decode()


async def pid_of_pending(peer: Peer, job: str) -> int:
    """Once a start that waits for its port has made the process."""
    async with asyncio.timeout(PATIENCE_S):
        while (info := await peer.call("job_info", job))["pid"] is None:
            pass
    assert info["state"] == "PENDING"
    return int(info["pid"])


async def fails(peer: Peer, cause: str, match: str, method: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(CallFailed, match=match) as caught:
        await peer.call(method, *args, **kwargs)
    assert (caught.value.status, caught.value.cause) == (10, cause)


async def get(url: str) -> tuple[int, str]:
    """GET with a raw socket: status, body."""
    host, _, target = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(name, int(port))
        writer.write(f"GET /{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


def folder(agent: Agent, job: str) -> Path:
    return next(known.sandbox.path for known in agent.jobs.jobs() if known.uid == job)


# --- the life of a job ------------------------------------------------------------------------------


async def test_a_life(peer: Peer, agent: Agent) -> None:
    info = await peer.call("job_create", "ein Auftrag")
    job = info["uid"]
    assert (info["name"], info["state"], info["pid"], info["ports"]) == ("ein Auftrag", "NEW", None, [])
    assert info["sender"] == {"direction": "SERVER", "uid": "router", "name": "a router"}
    assert await peer.call("job_wait", job) == info
    started = await peer.call("job_start", job, ["sh", "-c", "exec sleep 1000"], None, None, 0)
    assert started["state"] == "RUNNING"
    assert is_alive(started["pid"])
    assert started["created_at"] <= started["started_at"]
    assert started["finished_at"] is None
    assert started["cpu_seconds"] >= 0
    assert started["rss_bytes"] >= 0
    wait = await peer.start(peers.UNARY, "job_wait", job)
    killed = await peer.call("job_kill", job)
    assert (killed["state"], killed["signal"], killed["exit_code"]) == ("FINISHED", "SIGTERM", None)
    assert killed["started_at"] <= killed["finished_at"]
    assert (await peer.outcome(wait))[1] == killed
    sandbox = folder(agent, job)
    assert (await peer.call("job_remove", job))["state"] == "FINISHED"
    assert not sandbox.exists()
    await fails(peer, "JobNotFoundError", job, "job_remove", job)


async def test_a_job_without_a_name(peer: Peer) -> None:
    assert (await peer.call("job_create"))["name"] == "<unnamed job>"
    assert (await peer.call("job_create", name=None))["name"] == "<unnamed job>"


async def test_the_exit_code_is_reported(peer: Peer) -> None:
    job = await shell(peer, "exit 7")
    info = await peer.call("job_wait", job)
    assert (info["state"], info["exit_code"], info["signal"], info["error"]) == ("FINISHED", 7, None, None)
    assert info["cpu_seconds"] is None


async def test_a_job_is_started_once(peer: Peer) -> None:
    job = await shell(peer, "exit 0")
    await peer.call("job_wait", job)
    await fails(peer, "JobInvalidStateError", "FINISHED", "job_start", job, ["true"], None, None, 0)


async def test_removal_ends_a_start_that_waits(peer: Peer) -> None:
    job = await new_job(peer)
    start = await peer.start(peers.UNARY, "job_start", job, ["sleep", "1000"], None)
    await pid_of_pending(peer, job)
    assert (await peer.call("job_remove", job))["state"] == "PENDING"
    with pytest.raises(CallFailed, match=r"JobInvalidStateError.*removed"):
        await peer.outcome(start)


async def test_a_cancelled_start_ends_the_process(peer: Peer) -> None:
    job = await new_job(peer)
    start = await peer.start(peers.UNARY, "job_start", job, ["sleep", "1000"], None)
    pid = await pid_of_pending(peer, job)
    await peer.cancel(start)
    info = await peer.call("job_wait", job)
    assert (info["state"], info["signal"]) == ("FINISHED", "SIGKILL")
    assert not is_alive(pid)


# --- wrong calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("job_start", [["true"], None]),
        ("job_wait", []),
        ("job_info", []),
        ("job_remove", []),
        ("job_kill", []),
        ("job_adopt", []),
    ],
)
async def test_unknown_jobs(peer: Peer, method: str, args: list[Any]) -> None:
    await fails(peer, "JobNotFoundError", "'nope' is not found", method, "nope", *args)
    await fails(peer, "TypeError", "job_uid must be a str", method, 5, *args)
    await fails(peer, "TypeError", "unexpected keyword", method, "nope", *args, nonsense=1)


@pytest.mark.parametrize(
    ("cause", "match", "arguments"),
    [
        ("TypeError", "args must be a list", {"args": "true"}),
        ("ValueError", "args must not be empty", {"args": []}),
        ("ValueError", r"args\[0\], the program, must not be empty", {"args": [""]}),
        ("TypeError", r"args\[1\] must be a str", {"args": ["true", b"x"]}),
        ("ValueError", "NUL", {"args": ["true", "\0"]}),
        ("TypeError", "env must be a map", {"env": ["A"]}),
        ("TypeError", "env", {"env": {"A": 1}}),
        ("ValueError", "environment variable", {"env": {"A=B": "1"}}),
        ("ValueError", "environment variable", {"env": {"": "1"}}),
        ("TypeError", "cwd must be a str", {"cwd": 1}),
        ("ValueError", "cwd", {"cwd": "/tmp"}),
        ("ValueError", "cwd", {"cwd": "a/../.."}),
        ("FileNotFoundError", "nowhere", {"cwd": "nowhere"}),
        ("TypeError", "port_expected_count must be an int", {"port_expected_count": "1"}),
        ("TypeError", "port_expected_count must be an int", {"port_expected_count": True}),
        ("ProcessPortCountError", "must be 0 to", {"port_expected_count": -1}),
        ("ProcessPortCountError", "must be 0 to", {"port_expected_count": 1000}),
        ("ProcessPortCountError", "must be 0 to 1", {"port_expected_count": 2, "port": "auto", "ready": "connect"}),
        ("TypeError", "forward_stdout must be a bool", {"forward_stdout": 1}),
        ("TypeError", "port must be", {"port": "none"}),
        ("ValueError", "port must be", {"port": 65536}),
        ("ValueError", "ready must be", {"ready": "maybe"}),
        ("ValueError", "needs a port", {"ready": "connect"}),
        ("ValueError", "ready_timeout", {"ready_timeout": 0}),
        ("TypeError", "ready_timeout", {"ready_timeout": "1"}),
        ("ValueError", "timeout", {"timeout": -1}),
    ],
)
async def test_wrong_starts_leave_the_job_as_it_is(
    peer: Peer, cause: str, match: str, arguments: dict[str, Any]
) -> None:
    job = await new_job(peer)
    await fails(peer, cause, match, "job_start", job, **{"args": ["true"], "env": None} | arguments)
    assert (await peer.call("job_info", job))["state"] == "NEW"
    await peer.call("job_start", job, ["true"], None, None, 0)
    assert (await peer.call("job_wait", job))["exit_code"] == 0


async def test_an_unknown_program(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(peer, "FileNotFoundError", "no-such-program", "job_start", job, ["no-such-program"], None)
    info = await peer.call("job_info", job)
    assert info["state"] == "FINISHED"
    assert "no-such-program" in info["error"]


async def test_a_program_with_an_endless_name_leaves_a_short_error(peer: Peer) -> None:
    """Each info of the job has the error, and an info has to fit into a message."""
    job = await new_job(peer)
    with pytest.raises(CallFailed):
        await peer.call("job_start", job, ["x" * 1_000_000], None)
    info = await peer.call("job_info", job)
    assert info["state"] == "FINISHED"
    assert 0 < len(info["error"]) <= 4096


async def test_missing_arguments(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(peer, "TypeError", "args", "job_start", job)
    await fails(peer, "TypeError", "env", "job_start", job, ["true"])


async def test_wrong_creations(peer: Peer) -> None:
    await fails(peer, "TypeError", "name must be a str", "job_create", 5)
    await fails(peer, "TypeError", "linger", "job_create", None, "long")
    await fails(peer, "ValueError", "linger", "job_create", None, -1.0)
    assert await peer.call("job_count_current_connection") == 0


# --- the environment --------------------------------------------------------------------------------


SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


async def environment_of(peer: Peer, env: dict[str, str], **options: Any) -> dict[str, str]:
    job = await new_job(peer)
    await peer.call("job_start", job, [PYTHON, "-X", "utf8", "-c", SHOW], env, **{"port_expected_count": 0} | options)
    text = await output(peer, job)
    variables: dict[str, str] = json.loads(text)
    return variables


async def test_the_environment_and_its_order(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_AGENT", "agent")
    monkeypatch.setenv("DA__PAGENT__Größe", "from the agent's own")
    monkeypatch.setenv("DA__PAGENT__b c", "from the agent's own")
    properties = {"Größe": "übergroß 🐘", "b c": "d=e", "overridden": "property"}
    async with (
        running_agent(replace(settings, properties=properties)) as agent,
        peers.dial(agent.rpc_port, TOKEN) as peer,
    ):
        variables = await environment_of(peer, {"DA__PAGENT__overridden": "env", "Ä": "Ö"})
        assert variables["OF_THE_AGENT"] == "agent"
        assert variables["DA__PAGENT__Größe"] == "übergroß 🐘"
        assert variables["DA__PAGENT__b c"] == "d=e"
        assert variables["DA__PAGENT__overridden"] == "env"
        assert variables["Ä"] == "Ö"
        assert "DA__PAGENT__JOB_ID" not in variables
        assert "DA__PAGENT__JOB_ENDPOINT" not in variables


async def test_env_comes_over_the_endpoint(peer: Peer, agent: Agent) -> None:
    job = await new_job(peer)
    env = {"DA__PAGENT__JOB_ID": "mine"}
    await fails(peer, "ProcessExitedError", "exited with code 0 before", "job_start", job, [PYTHON, "-c", SHOW], env)
    variables = json.loads(await output(peer, job))
    assert variables["DA__PAGENT__JOB_ID"] == "mine"
    assert variables["DA__PAGENT__JOB_ENDPOINT"] == agent.jobs.endpoint


async def test_properties_are_in_the_handshake(settings: Settings) -> None:
    properties = {"Größe": "übergroß 🐘"}
    async with (
        running_agent(replace(settings, properties=properties)) as agent,
        peers.dial(agent.rpc_port, TOKEN) as peer,
    ):
        assert peer.hello[2][2]["properties"] == properties


async def test_the_working_folder(peer: Peer, agent: Agent) -> None:
    job = await new_job(peer)
    sandbox = folder(agent, job)
    (sandbox / "deep" / "er").mkdir(parents=True)
    await peer.call("job_start", job, ["sh", "-c", "/bin/pwd"], None, "deep//er/.", 0)
    assert (await output(peer, job)).decode().strip() == str(sandbox / "deep" / "er")
    assert (sandbox / ".pagent.stdout").is_file()


async def test_output_files_and_forwarding(peer: Peer, agent: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    job = await shell(peer, "echo out; echo err >&2")
    await peer.call("job_wait", job)
    assert (folder(agent, job) / ".pagent.stdout").read_text() == "out\n"
    assert (folder(agent, job) / ".pagent.stderr").read_text() == "err\n"
    forwarded = await shell(peer, "echo forwarded; echo too >&2", forward_stdout=True)
    await peer.call("job_wait", forwarded)
    captured = capfd.readouterr()
    assert "forwarded\n" in captured.out
    assert "too\n" in captured.err
    assert not (folder(agent, forwarded) / ".pagent.stdout").exists()


# --- the port report --------------------------------------------------------------------------------


async def test_reports(peer: Peer) -> None:
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", REPORTS, "1"], None)
    assert info["state"] == "RUNNING"
    assert len(info["ports"]) == 1
    assert await first_line(peer, job) == "200 OK"


async def test_several_reports(peer: Peer) -> None:
    job = await new_job(peer)
    info = await peer.call("job_start", job, [PYTHON, "-c", REPORTS, "3"], None, None, 3)
    assert info["state"] == "RUNNING"
    assert len(set(info["ports"])) == 3
    with pytest.raises(CallFailed, match="ValueError: job does not contain a running server"):
        await peer.http(job)


async def test_a_job_without_a_port_serves_nothing(peer: Peer) -> None:
    job = await shell(peer, "exec sleep 1000")
    with pytest.raises(CallFailed, match="ValueError: job does not contain a running server"):
        await peer.http(job)


async def test_the_report_endpoint(peer: Peer, agent: Agent) -> None:
    url = agent.jobs.endpoint
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/job_started")
    job = await new_job(peer)
    assert await get(f"{url}?job_id={job}&port=80") == (400, "unknown job")
    start = await peer.start(peers.UNARY, "job_start", job, TELLS_ITS_ID, None, None, 2)
    secret = await first_line(peer, job)
    rpc = agent.rpc_port
    for query, reason in {
        f"?job_id={secret}": "missing parameter: port",
        "?port=80": "missing parameter: job_id",
        "": "missing parameter: job_id",
        f"?job_id={secret}&port=80&x=1": "further parameter: only job_id and port are known",
        f"?job_id={secret}&port=80&port=80": "repeated parameter: port",
        f"?job_id={secret}&port=0": "bad port: it must be a number from 1 to 65535",
        f"?job_id={secret}&port=65536": "bad port: it must be a number from 1 to 65535",
        f"?job_id={secret}&port=%2B80": "bad port: it must be a number from 1 to 65535",
        f"?job_id={secret}&port=x": "bad port: it must be a number from 1 to 65535",
        f"?job_id={secret}&port={rpc}": "bad port: it is the agent's own",
        "?job_id=<script>&port=80": "unknown job",
    }.items():
        assert await get(url + query) == (400, reason), query
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        assert await get(f"{url}?job_id={secret}&port={ports[0]}") == (200, "OK")
        assert await get(f"{url}?job_id={secret}&port={ports[0]}") == (400, "bad port: it was reported before")
        assert await get(f"{url}?job_id={secret}&port={ports[1]}") == (200, "OK")
        assert (await peer.outcome(start))[1]["ports"] == ports
        assert await get(f"{url}?job_id={secret}&port=80") == (
            400,
            "bad port: the job is not expected to report one more",
        )


async def test_no_report_in_time(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(
        peer, "ProcessStartTimeoutError", "not reported within 0.05 s", "job_start", job, ["sleep", "1000"], None,
        ready_timeout=0.05,
    )  # fmt: skip
    info = await peer.call("job_info", job)
    assert info["state"] == "FINISHED"
    assert "did not start in time" in info["error"]
    assert not is_alive(info["pid"])


async def test_an_exit_before_the_report(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(
        peer,
        "ProcessExitedError",
        "exited with code 3 before it reported",
        "job_start",
        job,
        ["sh", "-c", "exit 3"],
        {},
    )
    info = await peer.call("job_info", job)
    assert (info["state"], info["exit_code"]) == ("FINISHED", 3)
    assert "before it reported its port" in info["error"]


@pytest.mark.parametrize("ownership", ["off", "warn", "enforce"])
async def test_whose_port_it_is(settings: Settings, ownership: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(settings, jobs=replace(settings.jobs, port_ownership=ownership))
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
            job = await new_job(peer)
            start = await peer.start(peers.UNARY, "job_start", job, TELLS_ITS_ID, None)
            answer = await get(f"{agent.jobs.endpoint}?job_id={await first_line(peer, job)}&port={port}")
            if ownership == "enforce":
                assert answer == (400, "bad port: no process of the job listens on it")
                assert (await peer.call("job_info", job))["state"] == "PENDING"
            else:
                assert answer == (200, "OK")
                assert (await peer.outcome(start))[1]["ports"] == [port]
            assert ("no process of it listens" in caplog.text) is (ownership == "warn")
            own = await new_job(peer)
            info = await peer.call("job_start", own, [PYTHON, "-c", REPORTS, "1"], None)
            assert info["state"] == "RUNNING"


# --- a port that the agent gives ---------------------------------------------------------------------


async def test_a_port_of_the_agents_choice(peer: Peer) -> None:
    script = 'echo "$1 $IN_ENV $PORT"'
    job = await new_job(peer)
    info = await peer.call(
        "job_start", job, ["sh", "-c", script, "-", "{port}+{port}"], {"IN_ENV": "is {port}"}, None, 0, port="auto"
    )
    await peer.call("job_wait", job)
    port = info["ports"][0]
    assert (await output(peer, job)).decode() == f"{port}+{port} is {port} {port}\n"


async def test_ready_when_it_accepts(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    info = await peer.call("job_info", job)
    assert info["state"] == "RUNNING"
    assert len(info["ports"]) == 1
    assert (await peer.http(job))[0] == 200
    assert (await peer.http(job, port=info["ports"][0]))[0] == 200
    with pytest.raises(CallFailed, match="ValueError: port 1 is not one of the job's"):
        await peer.http(job, port=1)


async def test_never_ready(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(
        peer, "ProcessStartTimeoutError", "did not accept a connection", "job_start", job, ["sleep", "1000"], None,
        port="auto", ready="connect", ready_timeout=0.05,
    )  # fmt: skip


async def test_gone_before_it_was_ready(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(
        peer, "ProcessExitedError", "before its port accepted", "job_start", job, ["false"], None,
        port="auto", ready="connect",
    )  # fmt: skip


async def test_the_agents_own_ports_are_refused(peer: Peer, agent: Agent) -> None:
    job = await new_job(peer)
    await fails(peer, "ValueError", "the agent's own", "job_start", job, ["true"], None, port=agent.rpc_port)


#: Listens on the ports that its arguments name.
LISTENS = """
import signal, socket, sys
sockets = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[1:]]
print("listening", flush=True)
signal.pause()
"""


async def test_further_ports_are_the_jobs_from_when_it_is_ready(peer: Peer) -> None:
    job = await new_job(peer)
    arguments = [PYTHON, "-c", LISTENS, "{port:db}", "{port}"]
    more = {"db": "auto"}
    info = await peer.call("job_start", job, arguments, None, port="auto", ready="connect", more_ports=more)
    main, further = info["ports"]
    for port in (main, further):
        call = await peer.start(peers.BISTREAM, "tcp_connect", job, port)
        assert (await peer.next_of(call))[2] is True
        await peer.cancel(call)
    assert await peer.call("job_listening", job) == sorted([["127.0.0.1", main], ["127.0.0.1", further]])


async def test_the_sockets_of_a_job_are_listed_before_it_is_ready(peer: Peer) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        elsewhere = bound.getsockname()[1]
    job = await new_job(peer)
    arguments = [PYTHON, "-c", LISTENS, str(elsewhere)]
    start = asyncio.create_task(peer.call("job_start", job, arguments, None, port="auto", ready="connect"))
    assert await first_line(peer, job) == "listening"
    assert await peer.call("job_listening", job) == [["127.0.0.1", elsewhere]]
    assert (await peer.call("job_info", job))["state"] == "PENDING"
    await peer.call("job_kill", job, "KILL")
    with pytest.raises(CallFailed, match="ProcessExitedError"):
        await start


async def test_a_job_runs_in_a_folder_that_is_allowed(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "work").mkdir()
    allowing = replace(settings, jobs=replace(settings.jobs, allow_folders=(str(tmp_path / "work"),)))
    async with running_agent(allowing) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        job = await shell(peer, "pwd; echo kept > file", cwd=str(tmp_path / "work"))
        await peer.call("job_wait", job)
        assert (await output(peer, job)).decode() == f"{tmp_path}/work\n"
        other = await new_job(peer)
        await fails(
            peer, "ValueError", "cwd: .* is not in a folder that jobs.allow_folders lists",
            "job_start", other, ["true"], None, str(tmp_path),
        )  # fmt: skip
        await fails(
            peer, "FileNotFoundError", "work/missing", "job_start", other, ["true"], None, f"{tmp_path}/work/missing"
        )
        assert (await peer.call("job_info", other))["state"] == "NEW"
        await peer.call("job_remove", job)
    assert os.listdir(tmp_path / "work") == ["file"]


# --- ending -----------------------------------------------------------------------------------------


async def test_kill_with_a_grace(peer: Peer) -> None:
    job = await shell(peer, "trap 'echo asked' TERM; echo here; while :; do sleep 1000 & wait $!; done")
    assert await first_line(peer, job) == "here"
    info = await peer.call("job_kill", job, "TERM", 0.05)
    assert (info["state"], info["signal"]) == ("FINISHED", "SIGKILL")
    assert b"asked" in await output(peer, job)


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="needs real-time signals")
@pytest.mark.parametrize(
    ("given_as", "number", "name"),
    [
        ("RTMIN+1", 1, "SIGRTMIN+1"),
        ("SIGRTMIN+2", 2, "SIGRTMIN+2"),
        ("RTMAX-1", -2, f"SIGRTMIN+{signal.SIGRTMAX - signal.SIGRTMIN - 1}"),
        ("RTMAX", -1, "SIGRTMAX"),
    ],
)
@pytest.mark.parametrize("by_number", [False, True])
async def test_real_time_signals(peer: Peer, given_as: str, number: int, name: str, by_number: bool) -> None:
    job = await shell(peer, "exec sleep 1000")
    numbers = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
    await peer.call("job_kill", job, numbers[number] if by_number else given_as)
    info = await peer.call("job_wait", job)
    assert (info["state"], info["signal"], info["exit_code"]) == ("FINISHED", name, None)


async def test_kill_by_a_signal_that_does_not_end(peer: Peer) -> None:
    job = await shell(peer, "trap 'echo caught; exit 4' USR1; echo here; while :; do sleep 1000 & wait $!; done")
    assert await first_line(peer, job) == "here"
    assert (await peer.call("job_kill", job, signal="USR1"))["state"] in ("RUNNING", "FINISHED")
    assert (await peer.call("job_wait", job))["exit_code"] == 4


async def test_wrong_kills(peer: Peer) -> None:
    job = await new_job(peer)
    await fails(peer, "JobInvalidStateError", "no process to signal", "job_kill", job)
    await fails(peer, "ValueError", "not known", "job_kill", job, "NONSENSE")
    await fails(peer, "TypeError", "signal must be", "job_kill", job, [])
    await fails(peer, "ValueError", "grace", "job_kill", job, "TERM", -1)


async def test_a_time_limit(peer: Peer) -> None:
    job = await shell(peer, "exec sleep 1000", timeout=0.05)
    info = await peer.call("job_wait", job)
    assert (info["state"], info["signal"]) == ("FINISHED", "SIGTERM")
    assert "time limit of 0.05 s" in info["error"]


DAEMON = """
import os, signal, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
os.execve(sys.executable, [sys.executable, "-c", code], {})
"""


@pytest.mark.parametrize("way", ["job_remove", "job_kill", "link"])
async def test_daemons_end_with_their_job(agent: Agent, way: str) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        job = await shell(peer, f"{PYTHON} -c '{DAEMON}'; exec sleep 1000")
        daemon = int(await first_line(peer, job))
        assert is_alive(daemon)
        if way != "link":
            await peer.call(way, job)
            assert not is_alive(daemon)
    await gone(daemon)
    assert not is_alive(daemon)


async def test_descendants_of_a_process_end_after_it(peer: Peer) -> None:
    job = await shell(peer, "sleep 1000 & echo $!")
    assert (await peer.call("job_wait", job))["exit_code"] == 0
    await gone(int(await output(peer, job)))


# --- whose job it is --------------------------------------------------------------------------------


@pytest.fixture
def two_tokens(settings: Settings) -> Settings:
    return replace(settings, server=replace(settings.server, accept_tokens=(TOKEN, "another")))


async def test_jobs_of_another_token_do_not_exist(two_tokens: Settings) -> None:
    async with (
        running_agent(two_tokens) as agent,
        peers.dial(agent.rpc_port, TOKEN) as peer,
        peers.dial(agent.rpc_port, "another") as foreign,
        peers.dial(agent.rpc_port, TOKEN) as sibling,
    ):
        job = await new_job(peer)
        for method, args in [
            ("job_info", []), ("job_start", [["true"], None]), ("job_wait", []), ("job_remove", []),
            ("job_kill", []), ("job_adopt", []), ("file_stat", ["x"]), ("file_list", []), ("file_remove", ["x"]),
        ]:  # fmt: skip
            await fails(foreign, "JobNotFoundError", job, method, job, *args)
        for call_type, method, args in [
            (peers.BISTREAM, "http_request", ["GET", "/", [], []]), (peers.BISTREAM, "ws_connect", ["/", [], []]),
            (peers.BISTREAM, "tcp_connect", []), (peers.ISTREAM, "job_logs", []),
            (peers.BISTREAM, "job_exec", [["true"]]), (peers.ISTREAM, "file_download", ["x"]),
            (peers.OSTREAM, "file_upload", ["x"]), (peers.OSTREAM, "archive_upload", []),
            (peers.ISTREAM, "archive_download", []),
        ]:  # fmt: skip
            call = await foreign.start(call_type, method, job, *args)
            with pytest.raises(CallFailed, match="JobNotFoundError"):
                await foreign.outcome(call)
        assert await foreign.call("job_list") == []
        assert [known["uid"] for known in await peer.call("job_list")] == [job]
        assert [known["uid"] for known in await sibling.call("job_list")] == [job]
        assert (await sibling.call("job_info", job))["uid"] == job
        assert await sibling.call("job_count_current_connection") == 0


async def test_a_lingering_job_is_adopted(two_tokens: Settings) -> None:
    async with running_agent(two_tokens) as agent:
        async with peers.dial(agent.rpc_port, TOKEN) as peer:
            job = await new_job(peer, linger=600.0)
            brief = await new_job(peer)
            script = ECHO.replace("async def main():", 'print("up", flush=True)\nasync def main():')
            arguments = [PYTHON, "-c", script, "{port}"]
            await peer.call("job_start", job, arguments, None, port="auto", ready="connect")
            link = (await peer.call("job_info", job))["sender"]
        async with (
            peers.dial(agent.rpc_port, TOKEN, uid="second") as second,
            peers.dial(agent.rpc_port, "another") as foreign,
        ):
            await fails(foreign, "JobNotFoundError", job, "job_adopt", job)
            await fails(second, "JobNotFoundError", brief, "job_adopt", brief)
            assert [known["uid"] for known in await second.call("job_list")] == [job]
            assert await second.call("job_count_current_connection") == 0
            adopted = await second.call("job_adopt", job)
            assert adopted["sender"] == link | {"uid": "second"}
            assert await second.call("job_count_current_connection") == 1
            assert (await second.http(job))[0] == 200
            assert await first_line(second, job) == "up"
        async with peers.dial(agent.rpc_port, TOKEN) as third:  # it lingers again
            assert [known["uid"] for known in await third.call("job_list")] == [job]


async def test_a_lingering_job_ends_in_the_end(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        job = await new_job(peer, linger=0.05)
        info = await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
    await gone(info["pid"])
    async with peers.dial(agent.rpc_port, TOKEN) as other:
        await fails(other, "JobNotFoundError", job, "job_info", job)


async def test_jobs_are_of_the_router_that_was_dialled(settings: Settings) -> None:
    async with peers.listen("a router's uid") as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", token="t", reconnect_delay=0.01)
        async with running_agent(replace(settings, client=client)) as agent:
            router = await listener.accepted()
            info = await router.call("job_create", linger=600.0)
            assert info["sender"]["direction"] == "CLIENT"
            job = info["uid"]
            async with peers.dial(agent.rpc_port, TOKEN) as peer:
                await fails(peer, "JobNotFoundError", job, "job_info", job)
            await router.close()
            again = await listener.accepted()
            assert (await again.call("job_adopt", job))["sender"]["uid"] == "a router's uid"


# --- numbers of the tree ----------------------------------------------------------------------------


async def test_usage_is_of_the_whole_tree(peer: Peer) -> None:
    hungry = "import signal; x = bytearray(60_000_000); print(1, flush=True); signal.pause()"
    job = await shell(peer, f'{PYTHON} -c "{hungry}" & wait')
    assert await first_line(peer, job) == "1"
    info = await peer.call("job_info", job)
    assert info["rss_bytes"] > 60_000_000
    assert info["cpu_seconds"] > 0


async def test_a_job_by_a_signal_from_elsewhere(peer: Peer) -> None:
    job = await shell(peer, "exec sleep 1000")
    os.kill((await peer.call("job_info", job))["pid"], signal.SIGSEGV)
    assert (await peer.call("job_wait", job))["signal"] == "SIGSEGV"


# --- isolation --------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
async def test_isolation_by_configuration(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    isolation = IsolationSettings(no_new_privs=True, environment=("PATH",), max_files=60)
    settings = replace(settings, jobs=replace(settings.jobs, isolation=isolation))
    script = 'grep NoNewPrivs /proc/self/status; ulimit -n; echo "<$SECRET_OF_THE_AGENT>"'
    async with running_agent(settings) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        job = await shell(peer, f"{script}; exec sleep 1000")
        call = await peer.start(peers.BISTREAM, "job_exec", job, ["sh", "-c", script])
        values, code = await peer.outcome(call)
        assert (b"".join(values), code) == (b"NoNewPrivs:\t1\n60\n<>\n", 0)
        call = await peer.start(peers.ISTREAM, "job_logs", job, "stdout", 0, True)
        written = b""
        while written.count(b"\n") < 3:
            written += (await peer.next_of(call))[2]
        assert written == b"NoNewPrivs:\t1\n60\n<>\n"
        await peer.cancel(call)
        page = await start_program(peer, ECHO)
        assert (await peer.http(page))[0] == 200


async def test_impossible_isolation_is_reported_at_the_start(settings: Settings) -> None:
    settings = replace(settings, jobs=replace(settings.jobs, isolation=IsolationSettings(user="no such user")))
    with pytest.raises(ConfigError, match=r"jobs\.isolation\.user: there is no user"):
        Agent(settings)
    assert settings.jobs.root is not None
    assert list(settings.jobs.root.iterdir()) == []


async def test_names_are_bounded_before_anything_is_made(peer: Peer, agent: Agent) -> None:
    assert (await peer.call("job_create", "ü" * 512))["name"] == "ü" * 512
    for name in ("x" * 1025, "ü" * 513, "x" * 5_000_000):
        with pytest.raises(CallFailed) as failed:
            await peer.call("job_create", name)
        assert failed.value.cause == "ValueError"
    assert len(agent.jobs.jobs()) == 1


async def test_a_list_of_jobs_comes_in_pages(peer: Peer) -> None:
    jobs = [(await peer.call("job_create"))["uid"] for _ in range(7)]
    assert [info["uid"] for info in await peer.call("job_list")] == jobs
    assert [info["uid"] for info in await peer.call("job_list", None, 3)] == jobs[:3]
    assert [info["uid"] for info in await peer.call("job_list", jobs[2], limit=3)] == jobs[3:6]
    assert [info["uid"] for info in await peer.call("job_list", after=jobs[5])] == jobs[6:]
    assert await peer.call("job_list", jobs[6]) == []
    for wrong in ((None, 0), (None, -1), (None, True), (None, "3"), (None, 1.5)):
        with pytest.raises(CallFailed) as failed:
            await peer.call("job_list", *wrong)
        assert failed.value.cause == "ValueError"
    with pytest.raises(CallFailed) as failed:
        await peer.call("job_list", "0" * 32)
    assert failed.value.cause == "JobNotFoundError"


async def test_a_list_of_jobs_is_one_message_that_any_peer_takes(agent: Agent) -> None:
    """A peer's own name stands in each info, and may be long."""
    name = "x" * 60_000
    async with connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN, name=name) as client:
        made = [(await client.create_job()).uid for _ in range(120)]
        async with peers.dial(agent.rpc_port, TOKEN) as peer:
            page = await peer.call("job_list")
            assert 3 << 20 < sum(len(info["sender"]["name"]) for info in page) < 4 << 20
        assert [job.uid for job in await client.jobs()] == made
