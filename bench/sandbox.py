"""Jobs from their creation to their removal, and archives of their files."""

from __future__ import annotations

import array
import io
import tarfile
import time
from collections.abc import Sequence
from typing import Final, cast

from bench.agentway import AgentWay
from bench.loops import ClosedLoop
from bench.references import ProcessWay, TarWay
from bench.way import Lane, Sample, Way
from bench.workload import KIB, Scale, Workload

_FILE_BYTES: Final = KIB
_PER_FOLDER: Final = 100
_FOLDER: Final = "many"


class Jobs(Workload):
    """Jobs of a program that does nothing, one after the other; the ratio is to starts of it by the generator."""

    unit = "job"
    also = ()

    def against(self, splice: Way) -> Way:
        return ProcessWay()

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return [await cast("AgentWay | ProcessWay", way).job_cycle()]


class FirstByte(Workload):
    """From job_start to the first byte of an answer of a small server; the ratio is to the same without an agent."""

    unit = "job"
    cost_unit = "us p50"
    also = ()

    def against(self, splice: Way) -> Way:
        return ProcessWay()

    async def prepare(self, way: Way) -> Sequence[Lane]:
        return ()

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        starter = cast("AgentWay | ProcessWay", way)
        began = time.perf_counter()
        taken = array.array("q", [await starter.first_byte_ns() for _ in range(self.scale.starts)])
        seconds = time.perf_counter() - began
        return Sample(len(taken), seconds, taken, sorted(taken)[len(taken) // 2] / 1000)

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        await cast("AgentWay | ProcessWay", way).first_byte_ns()


class Archive(Workload):
    """Many small files as a tar; the ratio is to the CPU time of tar(1) with the same."""

    unit = "file"
    also = ()
    rounds = 2

    def __init__(self, name: str, title: str, scale: Scale, *, upload: bool) -> None:
        super().__init__(name, title, scale)
        self._upload = upload
        self._tar = b""

    def against(self, splice: Way) -> Way:
        return TarWay()

    async def prepare(self, way: Way) -> Sequence[Lane]:
        files = self.scale.files
        self._tar = self._tar or small_files(files)
        if isinstance(way, TarWay):
            return ()
        agent = cast(AgentWay, way)
        if self._upload:
            return [await agent.archive_put(self._tar)]
        return [await agent.archive_get(self._tar, f"{_FOLDER}/*", files * _FILE_BYTES)]

    async def round(self, way: Way, lanes: Sequence[Lane]) -> Sample:
        if isinstance(way, TarWay):
            sample = await (way.unpack(self._tar) if self._upload else way.pack())
            assert sample.cost is not None
            sample.cost /= self.scale.files
        else:
            sample = await ClosedLoop(lanes, way.fault).run(0)
        sample.units = self.scale.files
        return sample

    async def warm_up(self, way: Way, lanes: Sequence[Lane]) -> None:
        """Upload the files to pack. No upload is warmed up, because those of users are not."""
        if isinstance(way, TarWay) and not self._upload:
            await way.unpack(self._tar)


def small_files(count: int) -> bytes:
    """Return a tar of ``files`` files of 1 KiB, a hundred in each folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            entry = tarfile.TarInfo(f"{_FOLDER}/{number // _PER_FOLDER:03}/{number % _PER_FOLDER:02}.txt")
            entry.size = _FILE_BYTES
            tar.addfile(entry, io.BytesIO(bytes(_FILE_BYTES)))
    return out.getvalue()
