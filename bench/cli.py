"""The command line of the bench."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import peers, plots, promises, report
from bench.catalogue import select, workloads
from bench.measure import Result, clock_works, measure
from bench.process import allow_many_files
from bench.way import Fault
from bench.workload import CHP, EVERY, PEERS, ROUTED, Scale, Workload
from pagent.errors import PagentError

_ROUNDS: Final = 5
_ROUNDS_QUICK: Final = 3
#: Exit code that shells report for a program that Ctrl-C ended.
_INTERRUPTED: Final = 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="CPU time of the agent, as a ratio to a splice.")
    made.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a workload, or a pattern; repeatable"
    )
    made.add_argument("--rounds", type=int, help=f"rounds of each way; {_ROUNDS}, or {_ROUNDS_QUICK} with --quick")
    made.add_argument("--quick", action="store_true", help="short rounds and small bodies: to try it out")
    made.add_argument("--tiny", action="store_true", help="shorter still: to see that everything works")
    made.add_argument(
        "--without",
        action="append",
        default=[],
        choices=(*EVERY, *ROUTED),
        help="leave a way out; repeatable",
    )
    made.add_argument("--no-peers", action="store_true", help="leave nginx, haproxy and configurable-http-proxy out")
    made.add_argument("--base", type=Path, metavar="DIR", help="another tree, whose agent is measured beside this one")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the result goes; a new file in bench/results")
    made.add_argument("--plots", type=Path, metavar="DIR", help="where the plots go; a folder beside the result")
    made.add_argument("--list", action="store_true", help="name the workloads and end")
    return made


def main(args: Sequence[str] | None = None) -> None:
    """Run ``python -m bench`` and exit."""
    options = parser().parse_args(args)
    scale = Scale(quick=options.quick, tiny=options.tiny, descriptors=allow_many_files())
    everything = workloads(scale)
    if options.list:
        for workload in everything:
            sys.stdout.write(f"{workload.name:14} {workload.title}\n")
        raise SystemExit(0)
    try:
        chosen = select(everything, options.only)
    except ValueError as error:
        parser().error(str(error))
    if options.rounds is None:
        options.rounds = _ROUNDS_QUICK if options.quick or options.tiny else _ROUNDS
    if options.rounds < 1 or not chosen:
        parser().error("there is nothing to measure")
    if not clock_works():
        raise SystemExit("bench: this system does not report the CPU time of a process exactly; run it on Linux")
    raise SystemExit(uvloop.run(_interruptible(options, chosen)))


async def _interruptible(options: argparse.Namespace, chosen: Sequence[Workload]) -> int:
    """Run. The first SIGINT or SIGTERM cancels the run, which ends all processes."""
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
    sys.stdout.write(report.heading(around) + "\n")
    sys.stdout.flush()
    if missing := [name for name in (*PEERS, CHP) if name not in found]:
        why = "--no-peers" if options.no_peers else "not installed, make bench-peers installs them"
        sys.stdout.write(f"left out: {', '.join(missing)} ({why})\n\n")
    without = {*options.without, *(name for name in (*PEERS, CHP) if name not in found)}
    results: list[Result] = []
    began = time.monotonic()
    gc.disable()  # a collection in the generator would count as latency of the agent
    try:
        failed = [w.name for w in chosen if not await _measured(w, options, without, results, began)]
    finally:  # the results so far are useful also after an interruption
        if results:
            _show(options, around, results)
        sys.stdout.write(f"\n{time.monotonic() - began:.0f} s\n")
    return int(bool(failed))


async def _measured(
    workload: Workload, options: argparse.Namespace, without: Collection[str], results: list[Result], began: float
) -> bool:
    """Add a workload's rows to the results; return False if it failed."""
    sys.stderr.write(f"{time.monotonic() - began:4.0f} s  {workload.name} ...\n")
    try:
        async for result in measure(workload, options.rounds, without, options.base):
            results.append(result)
    except (Fault, PagentError, RuntimeError, TimeoutError) as error:
        sys.stderr.write(f"{workload.name} FAILED: {error!r}\n")
        return False
    finally:
        gc.collect()
    return True


def _show(options: argparse.Namespace, around: dict[str, Any], results: Sequence[Result]) -> None:
    judgements = promises.judged(results)
    parts = [report.costs(results), report.routed(results)]
    if options.base is not None:
        parts.append(report.comparison(results))
    parts += [report.together(results), report.limits(results), promises.promises(judgements)]
    sys.stdout.write("\n".join(part for part in parts if part))
    stamp = around["time"].replace(":", "").replace("-", "")
    path = options.json or report.RESULTS / f"{stamp}-{around['commit']}-{os.getpid()}.json"
    kept = {"rounds": options.rounds, "quick": options.quick, "tiny": options.tiny}
    whole = {
        **around,
        "options": kept,
        "workloads": [result.as_json() for result in results],
        "promises": judgements,
    }
    report.save(path, whole)
    drawn = plots.draw(whole, options.plots or path.with_suffix(""))
    sys.stdout.write("\n" + "\n".join(os.path.relpath(file) for file in (path, *drawn)))
