from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs.keeper import protocol
from tests.kit.descriptors import left_open, targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    found = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(protocol.DESCRIPTORS)]
    yield found
    for descriptor in found:
        os.close(descriptor)


def test_a_message_with_its_descriptors(pair: Pair, files: list[int]) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [protocol.REQUEST.pack(7)], files)
    data, received = protocol.receive(theirs, protocol.REQUEST.size, protocol.DESCRIPTORS)
    try:
        assert protocol.REQUEST.unpack(data) == (7,)
        assert [os.readlink(f"/proc/self/fd/{each}") for each in received] == [
            os.readlink(f"/proc/self/fd/{each}") for each in files
        ]
        assert not any(os.get_inheritable(descriptor) for descriptor in received)
    finally:
        for descriptor in received:
            os.close(descriptor)


def test_messages_that_were_sent_at_once_are_received_one_by_one(pair: Pair, files: list[int]) -> None:
    """The descriptors of a request are never taken for those of the one before it."""
    ours, theirs = pair
    for run, count in enumerate((6, 0, 2)):
        socket.send_fds(ours, [protocol.REQUEST.pack(run)], files[:count])
    for run, count in enumerate((6, 0, 2)):
        data, received = protocol.receive(theirs, protocol.REQUEST.size, protocol.DESCRIPTORS)
        for descriptor in received:
            os.close(descriptor)
        assert (protocol.REQUEST.unpack(data), len(received)) == ((run,), count)


def test_more_descriptors_than_expected_are_not_opened(pair: Pair, files: list[int]) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [b"s"], files)
    before = targets()
    data, received = protocol.receive(theirs, 1, 1)
    assert (data, len(left_open(before))) == (b"s", len(received))
    assert len(received) in (1, 2)  # the kernel aligns the room for one to that of two
    for descriptor in received:
        os.close(descriptor)


def test_without_room_for_descriptors_the_message_arrives(pair: Pair, files: list[int]) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [protocol.REQUEST.pack(3)], files)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(files[0])
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        data, received = protocol.receive(theirs, protocol.REQUEST.size, protocol.DESCRIPTORS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (protocol.REQUEST.unpack(data), received) == ((3,), [])


@pytest.mark.parametrize("unread", [b"", b"report"])
def test_the_end_of_the_sender_is_empty(pair: Pair, unread: bytes) -> None:
    """Also that of a sender that has not read all that it was sent, which is an error of the socket."""
    ours, theirs = pair
    theirs.sendall(unread)
    ours.close()
    assert protocol.receive(theirs, 4, 1) == (b"", [])


def test_reports_for_an_agent_that_has_ended(pair: Pair) -> None:
    ours, theirs = pair
    assert protocol.send(theirs, b"report")
    assert ours.recv(100) == b"report"
    ours.close()
    assert not protocol.send(theirs, b"report")


def test_reports_for_an_agent_that_does_not_read(pair: Pair) -> None:
    _, theirs = pair
    while protocol.send(theirs, bytes(4096), socket.MSG_DONTWAIT):
        pass


@pytest.mark.parametrize(
    ("kind", "run", "number", "extra"),
    [(protocol.SUPERVISOR, 0, 2**22, 2**63), (protocol.FAILED, 2**32 - 1, 4095, protocol.FORK), (255, 1, -1, 0)],
)
def test_reports_hold_what_the_system_has(kind: int, run: int, number: int, extra: int) -> None:
    assert protocol.REPORT.unpack(protocol.REPORT.pack(kind, run, number, extra)) == (kind, run, number, extra)
