"""One body over a link with a long round trip: do the windows of a stream grow with it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.loops import ClosedLoop
from bench.way import Lane, Sample, Way
from bench.workload import MB, NO_FLOW, Scale, Workload

#: Delay in each direction, and bytes per second: 1 Gbit/s, so 12.5 MB are under way on a full link.
DELAY_S: Final = 0.05
RATE: Final = 125 * MB


class Far(Workload):
    """The ratio is the time that a megabyte takes, to the time through the same link with TCP's own windows.

    ``agent`` is a link with flow control, by the client of the package; the peer of ``no-flow`` has none.
    """

    unit = "MB"
    cost_unit = "us time"
    also = (NO_FLOW,)
    rounds = 1  # a window that does not grow takes 25 s for 64 MiB
    delayed = True

    def __init__(self, name: str, title: str, scale: Scale, *, upload: bool) -> None:
        super().__init__(name, title, scale)
        self._upload = upload

    async def prepare(self, way: Way) -> Sequence[Lane]:
        size = self.scale.far_bytes
        return [await (way.put(size) if self._upload else way.get(size))]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        sample = await ClosedLoop(lanes, way.fault).run(0)
        sample.units *= self.scale.far_bytes / MB
        sample.cost = sample.seconds / sample.units * 1e6
        return sample

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        """Do nothing: a window that grows does so in the first round as in any."""
