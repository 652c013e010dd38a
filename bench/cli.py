"""The command line of the bench."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import peers, report
from bench.measure import Result, clock_works, measure
from bench.process import allow_many_files
from bench.way import Fault
from bench.workloads import Scale, Workload, select, workloads

_ROUNDS: Final = 5
_ROUNDS_QUICK: Final = 3
#: What shells return for a program that Ctrl-C ended.
_INTERRUPTED: Final = 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="CPU cost of the agent, beside a bare splice.")
    made.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a workload, or a pattern; repeatable"
    )
    made.add_argument("--rounds", type=int, help=f"rounds of each way; {_ROUNDS}, or {_ROUNDS_QUICK} with --quick")
    made.add_argument("--quick", action="store_true", help="short rounds and small bodies: to try it out")
    made.add_argument("--role", choices=("accepts", "dials"), default="accepts", help="what the agent does on its link")
    made.add_argument("--no-peers", action="store_true", help="leave nginx and haproxy out")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the result goes; a new file in bench/results")
    made.add_argument("--list", action="store_true", help="name the workloads and end")
    return made


def main(args: Sequence[str] | None = None) -> None:
    """``python -m bench``; ends the process."""
    options = parser().parse_args(args)
    everything = workloads(Scale(quick=options.quick))
    if options.list:
        for workload in everything:
            sys.stdout.write(f"{workload.name:12} {workload.title}\n")
        raise SystemExit(0)
    try:
        chosen = select(everything, options.only)
    except ValueError as error:
        parser().error(str(error))
    if options.role == "dials":
        chosen = [workload for workload in chosen if workload.main]
    if options.rounds is None:
        options.rounds = _ROUNDS_QUICK if options.quick else _ROUNDS
    if options.rounds < 1 or not chosen:
        parser().error("there is nothing to measure")
    if not clock_works():
        raise SystemExit("this system does not tell the CPU time of a process: the bench needs Linux")
    allow_many_files()
    raise SystemExit(uvloop.run(_interruptible(options, chosen)))


async def _interruptible(options: argparse.Namespace, chosen: Sequence[Workload]) -> int:
    """Run; the first SIGINT or SIGTERM cancels, which ends all processes."""
    loop = asyncio.get_running_loop()
    work = loop.create_task(_run(options, chosen))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED


async def _run(options: argparse.Namespace, chosen: Sequence[Workload]) -> int:
    found = {} if options.no_peers else await asyncio.get_running_loop().run_in_executor(None, peers.installed)
    around = report.surroundings(found)
    sys.stdout.write(report.heading(around, options.role) + "\n")
    sys.stdout.flush()
    results: list[Result] = []
    failed = False
    began = time.monotonic()
    gc.disable()  # a collection of the generator's would be a latency of the agent's
    for workload in chosen:
        sys.stderr.write(f"{workload.name} ...\n")
        try:
            results.append(await measure(workload, options.role, options.rounds, list(found)))
        except (Fault, RuntimeError, TimeoutError) as error:
            sys.stderr.write(f"{workload.name} FAILED: {error!r}\n")
            failed = True
        gc.collect()
    _show(options, around, results, list(found))
    sys.stdout.write(f"\n{time.monotonic() - began:.0f} s\n")
    return int(failed)


def _show(options: argparse.Namespace, around: dict[str, Any], results: Sequence[Result], found: list[str]) -> None:
    if not results:
        return
    sys.stdout.write(report.costs(results, found) + "\n" + report.limits(results))
    stamp = around["time"].replace(":", "").replace("-", "")
    path = options.json or report.RESULTS / f"{stamp}-{around['commit']}-{options.role}-{os.getpid()}.json"
    kept = {"role": options.role, "rounds": options.rounds, "quick": options.quick}
    report.save(path, around, kept, results)
    sys.stdout.write(f"\n{os.path.relpath(path)}")
