"""Samples and figures of ``GET /v1/events?samples=1`` (docs/api.rst, "Live figures").

They have no ids and are not kept. A stream that is slow gets the latest ones, and not those that it has missed. What is
encoded is shared by the streams of a subject.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from pagent.rpc.directory import Gate, JobFacts, Subject
from pagent.web.answers import packed
from pagent.web.routes import LiveTable, Routes

#: A sample is sent once in this time, and the figures of jobs every second time.
_SAMPLE_S: Final = 1.0
_FIGURES_EVERY: Final = 2
#: Jobs in one event.
_JOBS_MAX: Final = 500


class Samples:
    """Takes samples while streams listen to them.

    :param wake: wakes these streams.
    """

    def __init__(self, routes: Routes, wake: Callable[[], None]) -> None:
        # For life.
        self._routes = routes
        self._wake = wake
        # While there are streams.
        self._streams = 0
        self._live: LiveTable | None = None
        self._listening = ExitStack()
        self._timer: asyncio.TimerHandle | None = None
        # The last sample.
        self.number = 0
        self.data = b""
        #: The version of figures that is sent.
        self.version = 0
        self._pieces: dict[tuple[int, Gate, Subject], list[bytes]] = {}

    @contextmanager
    def stream(self, gate: Gate, subject: Subject) -> Iterator[SampleStream]:
        """Yield the samples for one stream, of a subject of a gate."""
        self._streams += 1
        if self._streams == 1:
            self._live = self._routes.live
            self._listening.enter_context(self._live.listening())
            self._tick()
        try:
            yield SampleStream(self, gate, subject)
        finally:
            self._streams -= 1
            if not self._streams:
                self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._live = None
        self._listening.close()
        self._pieces.clear()
        self.version = 0

    def _tick(self) -> None:
        live = self._live
        assert live is not None
        self._timer = asyncio.get_running_loop().call_later(_SAMPLE_S, self._tick)
        self.number += 1
        self.data = b"event: sample\ndata: %b\n\n" % packed(live.sample())
        if self.number % _FIGURES_EVERY == 0:
            self.version = live.version
            self._pieces.clear()  # times without use have grown
        self._wake()

    def figures_after(self, version: int, gate: Gate, subject: Subject) -> list[bytes]:
        """Return events with the figures that have changed after a version, of jobs that a subject may see."""
        key = version, gate, subject
        if (pieces := self._pieces.get(key)) is None:
            pieces = self._pieces[key] = [*self._encoded(version, gate, subject)]
        return pieces

    def _encoded(self, version: int, gate: Gate, subject: Subject) -> Iterator[bytes]:
        live = self._live
        assert live is not None
        found: dict[str, object] = {}
        for uid, row in live.rows.items():
            if not version < row.version <= self.version or (job := self._routes.job(uid)) is None:
                continue
            if gate.sees(subject, JobFacts(uid, job.agent_uid, job.labels)):
                found[uid] = row.values
            if len(found) >= _JOBS_MAX:
                yield _event(found)
                found = {}
        if found:
            yield _event(found)


def _event(jobs: dict[str, object]) -> bytes:
    return b"event: figures\ndata: %b\n\n" % packed({"jobs": jobs})


class SampleStream:
    """The samples and figures that one stream was sent."""

    def __init__(self, samples: Samples, gate: Gate, subject: Subject) -> None:
        self._samples = samples
        self._gate = gate
        self._subject = subject
        self._number = samples.number
        self._version = 0

    def take(self) -> list[bytes]:
        """Return the last sample and the figures that this stream was not sent."""
        samples = self._samples
        if samples.number == self._number:
            return []
        self._number = samples.number
        if samples.version == self._version:
            return [samples.data]
        before, self._version = self._version, samples.version
        return [samples.data, *samples.figures_after(before, self._gate, self._subject)]
