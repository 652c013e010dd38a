"""The base of workloads: their scale, and what a round does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self

from bench.loops import ClosedLoop
from bench.process import Placing
from bench.way import Lane, Sample, Way

KIB: Final = 1024
MIB: Final = 1024 * KIB
MB: Final = 1_000_000

#: Further ways by name: directly to the job; through an agent that dials; by tcp_connect; through other proxies.
DIRECT: Final = "direct"
DIALS: Final = "dials"
TUNNEL: Final = "tunnel"
PEERS: Final = ("nginx", "haproxy")
#: In rows with a slow link: a peer without flow control.
NO_FLOW: Final = "no-flow"
#: Ways of the rows about the router: through a router and its agent, through two splices, and through another proxy.
ROUTER: Final = "router"
TWO_SPLICES: Final = "splice2"
CHP: Final = "configurable-http-proxy"
ROUTED: Final = (TWO_SPLICES, ROUTER, CHP)
EVERY: Final = (DIALS, TUNNEL, *PEERS, DIRECT)


class Scale:
    """The duration and the size of rounds.

    ``quick`` is for trying the bench out, ``tiny`` for testing that it works: neither gives figures worth keeping.
    ``descriptors``: how many a process may have open.
    """

    def __init__(self, *, quick: bool = False, tiny: bool = False, descriptors: int = 20_000) -> None:
        self.round_s = 0.02 if tiny else 0.2 if quick else 0.4
        self.bulk_bytes = 2 * MIB if tiny else 64 * MIB if quick else 1024 * MIB
        self.file_bytes = MIB if tiny else 16 * MIB if quick else 128 * MIB
        self.far_bytes = 64 * KIB if tiny else 16 * MIB if quick else 64 * MIB
        self.files = 50 if tiny else 1000 if quick else 10_000
        self.starts = 1 if tiny else 3 if quick else 8
        self.many = 20 if tiny else 1000
        sockets = 50 if tiny else 1000 if quick else 10_000
        # A splice needs two descriptors for each socket, and the job has those of both ways.
        self.sockets_spliced = min(sockets, (descriptors - 300) // 2)
        self.sockets = min(sockets, descriptors - 300 - self.sockets_spliced)


class Workload:
    """One row. :meth:`round` makes a round with what :meth:`prepare` returned for that way.

    ``unit``: what is counted. ``cost_unit``: of the figure that the ratio is made of: CPU microseconds per unit,
    unless rounds return a cost of their own. ``also``: ways beside the agent and the splice. ``references``: those of
    them that have all rounds. ``rounds``: if another number makes no sense. ``delayed``: all ways begin with a slow
    link.
    """

    unit = "GET"
    cost_unit = "us"
    also: Sequence[str] = EVERY
    references: Sequence[str] = ()
    rounds: int | None = None
    delayed = False

    def __init__(self, name: str, title: str, scale: Scale) -> None:
        self.name = name
        self.title = title
        self.scale = scale
        self.placing = Placing.OWN_CORE

    def placed(self, placing: Placing) -> Self:
        """Return the same workload, with its processes on other cores."""
        self.placing = placing
        return self

    def routed(self) -> Self:
        """Return the same workload, with the ways that a router is compared with."""
        self.also = (*self.also, *ROUTED)
        return self

    async def prepare(self, way: Way) -> Sequence[Lane]:
        raise NotImplementedError

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        return await ClosedLoop(lanes, way.fault).run(self.scale.round_s)

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await ClosedLoop(lanes, way.fault).run(min(0.2, self.scale.round_s))

    def against(self, splice: Way) -> Way:
        """The name of the way that the ratio refers to."""
        return splice

    def steps(self) -> Iterable[Workload]:
        """Return the rows that are measured one after the other on the same processes; usually the workload itself."""
        return (self,)
