"""The work of the commands that look at jobs and end them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import click

from pagent.cli.failure import EXIT_NO_SUCH, EXIT_TIMEOUT, CommandFailed, exit_code_for, report_failure
from pagent.cli.job_wait import wait_across_links
from pagent.cli.naming import UID_DIGITS, JobRemovedError, find_info, find_job
from pagent.cli.outcome import brief_end, describe_end, exit_code, reason
from pagent.cli.terminal.sizes import cell_of, size_of
from pagent.cli.terminal.standard_streams import say
from pagent.cli.terminal.tables import print_fields, print_infos, print_json
from pagent.cli.terminal.times import age, local_time
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError
from pagent.job_states import CLOSED, ENDED, NEW
from pagent.log import escape

_HEADS: Final = ("UID", "NAME", "STATE", "AGE", "PORTS", "CPU", "MEMORY")
#: Names of the keys of an info that hold times, as ``info`` prints them.
_TIMES: Final = {
    "created_at": "created",
    "started_at": "started",
    "finished_at": "ended",
    "removed_at": "removed",
    "last_request_at": "last request",
    "last_input_at": "last input",
    "state_changed_at": "waits since",
}


async def list_jobs(client: AgentClient, *, with_ended: bool, quiet: bool, as_json: bool) -> int:
    """Print the jobs in the order of their creation."""
    found = {job.uid: job.first_info for job in await client.jobs()}
    if with_ended:
        found = {info["uid"]: info for info in await client.ended_jobs()} | found
    infos = [info for info in found.values() if with_ended or info["state"] not in ENDED]
    infos.sort(key=lambda info: (info.get("created_at") or 0, info["uid"]))
    print_infos(infos, _HEADS, _row, quiet=quiet, as_json=as_json)
    return 0


def _row(info: dict[str, Any]) -> tuple[str, ...]:
    ports, cpu = info.get("ports"), info.get("cpu_seconds")
    return (
        info["uid"][:UID_DIGITS],
        info["name"],
        _state(info),
        age(info.get("created_at")),
        ",".join(map(str, ports)) if ports else "-",
        "-" if cpu is None else f"{cpu:.1f}s",
        cell_of(info.get("rss_bytes")),
    )


def _state(info: dict[str, Any]) -> str:
    """Return the state, with how the process has ended, or how long the request of a job that waits is in its state."""
    end = brief_end(info) or (age(info["state_changed_at"]) if info.get("state_changed_at") else "")
    state = "REMOVED" if info["state"] == CLOSED else info["state"]
    return f"{state} ({end})" if end else state


async def print_job(client: AgentClient, name: str, *, as_json: bool) -> int:
    """Print the info of a job, and the end of its standard error if it has ended.

    Of a job that waits for an agent of its pool: the end of the output of the pool's command.
    """
    info = await find_info(client, name)
    if as_json:
        print_json(info)
        return 0
    output = info.pop("command_output", [])
    known = {_TIMES.get(key, key.replace("_", " ")): _words(key, value) for key, value in info.items()}
    stderr = known.pop("stderr", "")
    known.pop("error", "")  # the reason has it
    first = {name: known.pop(name) for name in ("uid", "name", "state")}
    print_fields(first | {"state": _state(info), "reason": reason(info)} | known)
    _print_lines("end of standard error:", stderr.splitlines())
    _print_lines("end of the output of the pool's command:", output)
    return 0


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(title)
    for line in lines:
        click.echo(f"  {escape(line)}")


def _words(key: str, value: Any) -> str:
    """Return a value of an info as a person reads it, empty for none."""
    if value is None or value in ({}, []):
        return ""
    if key in _TIMES:
        return local_time(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if key == "rss_bytes":
        return size_of(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def wait_for_jobs(client: AgentClient, names: Sequence[str], timeout: float | None) -> int:
    """Print the exit code of each job when it has ended; return that of the last one."""
    code = 0
    try:
        async with asyncio.timeout(timeout):
            for name in names:
                info = await _end_of(client, name)
                code = exit_code(info)
                if info.get("error"):
                    say(escape(f"job {name}: {info['error']}"))
                click.echo(code)
    except TimeoutError:
        raise CommandFailed(f"job {name} has not ended within {timeout:g} s", EXIT_TIMEOUT) from None
    return code


async def _end_of(client: AgentClient, name: str) -> dict[str, Any]:
    """Wait until the job that an argument names has ended, and return its info; at once for one that was removed."""
    try:
        job = await find_job(client, name)
    except JobRemovedError as removed:
        return removed.info
    return await ended(job)


async def ended(job: RemoteJob) -> dict[str, Any]:
    """Wait until a job has ended, and return its info. A lost link is waited for. CommandFailed: it never starts."""
    while True:
        info = await wait_across_links(job, say)
        if info["state"] in ENDED:
            return info
        if info["state"] == NEW:
            raise CommandFailed(f"job {job.uid} was not started")


async def kill_jobs(client: AgentClient, names: Sequence[str], signal: str, grace: float) -> int:
    """Signal each job."""
    return await _with_each(client, names, lambda job: job.kill(int(signal) if signal.isdecimal() else signal, grace))


async def remove_jobs(client: AgentClient, names: Sequence[str], *, force: bool) -> int:
    """Remove each job."""
    return await _with_each(client, names, RemoteJob.remove, may_be_gone=force)


async def _with_each(
    client: AgentClient,
    names: Sequence[str],
    do: Callable[[RemoteJob], Awaitable[Any]],
    *,
    may_be_gone: bool = False,
) -> int:
    """Do something with each job, and print its name. A failure does not keep the others; return that of the last."""
    code = 0
    for name in names:
        try:
            await do(await find_job(client, name))
        except (CallError, CommandFailed) as error:
            if may_be_gone and exit_code_for(error) == EXIT_NO_SUCH:
                continue
            code = report_failure(error)
        else:
            click.echo(escape(name))
    return code


async def adopt_job(client: AgentClient, name: str) -> int:
    """Own a job until it has ended, and return its exit code."""
    job = await client.adopt_job((await find_job(client, name)).uid)
    say(f"job {job.uid} belongs to this command now; keep the command running")
    info = await ended(job)
    say(f"the job has ended {describe_end(info)}".rstrip())
    return exit_code(info)
