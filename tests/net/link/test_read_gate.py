"""The gate of a link's reading: several owners, each with its own pause."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pagent.net.link.read_gate import ReadGate


class CountingTransport(asyncio.Transport):
    """A transport that records pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def test_reading_resumes_with_the_last_owner() -> None:
    gate, transport = ReadGate(), CountingTransport()
    gate.open(transport, "127.0.0.1:1")
    gate.pause("first")
    gate.pause("second")
    gate.pause("first")
    assert gate.owners == {"first", "second"}
    gate.resume("first")
    assert transport.calls == ["pause"]
    gate.resume("second")
    gate.resume("second")
    assert transport.calls == ["pause", "resume"]
    assert gate.owners == frozenset()


def test_a_closed_gate_leaves_the_transport_alone() -> None:
    gate, transport = ReadGate(), CountingTransport()
    gate.open(transport, "127.0.0.1:1")
    gate.pause("first")
    gate.close()
    gate.resume("first")
    gate.pause("second")
    assert transport.calls == ["pause"]


def test_the_log_names_the_owners(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pagent.net.link.read_gate")
    gate = ReadGate()
    gate.open(CountingTransport(), "127.0.0.1:1")
    gate.pause("first")
    gate.pause("second")
    gate.resume("first")
    gate.resume("second")
    assert caplog.messages == [
        "127.0.0.1:1: reading is paused by first",
        "127.0.0.1:1: reading is resumed by second",
    ]
