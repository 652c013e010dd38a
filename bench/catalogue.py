"""All rows, in the order of the table."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from bench.far import Far
from bench.loads import Input, Listings, Load, NestedArrays, Removal, SmallChunks, Starts
from bench.process import Placing
from bench.sandbox import Archive, FirstByte, Jobs
from bench.stalls import Stall
from bench.together import Events, Mixed
from bench.traffic import PACED_RATE, Bulk, Echo, File, Get, IdleClients, IdleLinks, IdleSockets, Streams
from bench.workload import KIB, MB, MIB, Scale, Workload


def workloads(scale: Scale) -> list[Workload]:
    bulk, file, many = scale.bulk_bytes, scale.file_bytes, scale.many
    return [
        # First, while the generator is small: it starts the processes of the references itself.
        Jobs("job", "job: create, start, wait, remove", scale),
        FirstByte("first-byte", "job_start to first byte", scale),
        Get("get1", "GET 12 B, 1 in flight", scale, 12, 1).routed(),
        Get("get1-varied", "GET 12 B, 1 in flight, all different", scale, 12, 1, varied=True).routed(),
        Get("get1-one-core", "GET 12 B, 1 in flight, one core", scale, 12, 1).placed(Placing.ONE_CORE).routed(),
        Get("get1-varied-one-core", "GET 12 B, 1 in flight, all different, one core", scale, 12, 1, varied=True)
        .placed(Placing.ONE_CORE)
        .routed(),
        Get("get64", "GET 12 B, 64 in flight", scale, 12, 64).routed(),
        Get("get64-varied", "GET 12 B, 64 in flight, all different", scale, 12, 64, varied=True).routed(),
        Get("get512", "GET 12 B, 512 in flight", scale, 12, 512),
        Get("get64k", "GET 64 KiB, 16 in flight", scale, 64 * KIB, 16),
        Bulk("down", f"{_amount(bulk)} down", scale, bulk, lambda way, size: way.get(size)).routed(),
        Bulk("up", f"{_amount(bulk)} up", scale, bulk, lambda way, size: way.put(size)).routed(),
        Bulk(
            "up-paced",
            f"upload at {PACED_RATE // MB} MB/s",
            scale,
            max(MIB, bulk // 8),
            lambda way, size: way.put(size, PACED_RATE),
        ),
        Echo("ws16", "WebSocket 16 B, 1 socket, one core", scale, 16, 1).placed(Placing.ONE_CORE),
        Echo("ws1k", "WebSocket 1 KiB, 1 socket, one core", scale, KIB, 1).placed(Placing.ONE_CORE),
        Echo("ws64k", "WebSocket 64 KiB, 1 socket, one core", scale, 64 * KIB, 1).placed(Placing.ONE_CORE).routed(),
        Echo("ws16x64", "WebSocket 16 B, 64 sockets", scale, 16, 64).routed(),
        Echo("ws1kx64", "WebSocket 1 KiB, 64 sockets", scale, KIB, 64),
        Echo("ws64kx64", "WebSocket 64 KiB, 64 sockets", scale, 64 * KIB, 64),
        Echo("ws16x1000", f"WebSocket 16 B, {many:,} sockets", scale, 16, many),
        Echo("ws1kx1000", f"WebSocket 1 KiB, {many:,} sockets", scale, KIB, many),
        Echo("ws64kx1000", f"WebSocket 64 KiB, {many:,} sockets", scale, 64 * KIB, many),
        Streams("streams", "WebSocket 16 B, 64 in flight, one core", scale).placed(Placing.ONE_CORE),
        Streams("own-core-streams", "WebSocket 16 B, 64 in flight, the agent on its own core", scale),
        IdleSockets("ws-idle", f"{scale.sockets:,} idle WebSockets, memory", scale),
        IdleSockets("ws-idle-1000", f"{many:,} idle WebSockets, memory", scale, many).routed(),
        IdleClients("clients-idle", f"{many:,} idle connections of clients, memory", scale).routed(),
        IdleLinks("links-idle", f"{many:,} idle links, memory", scale),
        File("file-down", f"file_download, {_amount(file)}", scale, file, lambda way, size: way.file_get(size)),
        File("file-up", f"file_upload, {_amount(file)}", scale, file, lambda way, size: way.file_put(size)),
        Archive("archive-up", f"archive_upload, {scale.files:,} small files", scale, upload=True),
        Archive("archive-down", f"archive_download, {scale.files:,} small files", scale, upload=False),
        *_stalls(scale),
        Events("events", "event every 2 ms, latency", scale).placed(Placing.ENDS_ON_TWO_CORES),
        Events("events-one-core", "event every 2 ms, latency, one core", scale).placed(Placing.ONE_CORE).routed(),
        Events("events-own-core", "event every 2 ms, latency, the agent on its own core", scale),
        Mixed("mixed1", "GET beside 1 download, p99 to alone", scale, 1),
        Mixed("mixed4", "GET beside 4 downloads, p99 to alone", scale, 4),
        Mixed("mixed16", "GET beside 16 downloads, p99 to alone", scale, 16).routed(),
        Far("far-down", f"{_amount(scale.far_bytes)} down over 50 ms", scale, upload=False),
        Far("far-up", f"{_amount(scale.far_bytes)} up over 50 ms", scale, upload=True),
    ]


def _stalls(scale: Scale) -> list[Workload]:
    many, processes, large = scale.many, 3 * scale.many, scale.many * 32 * KIB
    values = {f"V{number}": "x" * (9 * many) for number in range(100)}
    variables = {f"VARIABLE_{number}": f"value {number}" for number in range(30 * many)}
    loads: dict[str, tuple[str, Callable[[], Load]]] = {
        "listings": (f"{many // 5} listings of {many // 10} jobs", lambda: Listings(many // 10, many // 5)),
        "starts": (f"{many // 5} starts", lambda: Starts(many // 5, {})),
        "environments": ("30 starts with a large environment", lambda: Starts(30, values)),
        "variables": (f"a start with {30 * many:,} variables", lambda: Starts(1, variables)),
        "removal": (f"the removal of {processes:,} processes", lambda: Removal(processes)),
        "input": (f"{_amount(large)} for a process in one message", lambda: Input(large)),
        "nested": (f"{_amount(large // 4)} of empty arrays", lambda: NestedArrays(large // 4)),
        "chunks": ("a download in chunks of 1 byte", lambda: SmallChunks(64 * KIB)),
    }
    return [Stall(f"stall-{name}", f"longest wait beside {text}", scale, load) for name, (text, load) in loads.items()]


def _amount(size: int) -> str:
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size // KIB} KiB"


def select(everything: Sequence[Workload], patterns: Sequence[str]) -> list[Workload]:
    """Return the workloads whose names match any pattern. ValueError for a pattern that matches none."""
    chosen: set[str] = set()
    for pattern in patterns:
        names = fnmatch.filter([workload.name for workload in everything], pattern)
        if not names:
            raise ValueError(f"no workload is called {pattern!r}")
        chosen.update(names)
    return [workload for workload in everything if not patterns or workload.name in chosen]
