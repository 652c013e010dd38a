"""The table of listening sockets."""

from __future__ import annotations

import os
import socket
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pagent.jobs import sockets
from pagent.jobs.sockets import ListeningSocket

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/net/tcp")


@linux
def test_one_of_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        inode = os.fstat(listening.fileno()).st_ino
        assert sockets.listeners(port) == [ListeningSocket(inode, os.geteuid(), "127.0.0.1", port)]
        assert sockets.holds(os.getpid(), [ListeningSocket(inode, 0, "", port)]) is True
        assert sockets.holds(os.getpid(), [ListeningSocket(inode + 1, 0, "", port)]) is False
        assert sockets.holds(os.getppid(), [ListeningSocket(inode, 0, "", port)]) is not True
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert len(sockets.listeners(port) or ()) == 1
            assert sockets.listeners(client.getsockname()[1]) == []
    assert sockets.listeners(port) == []


@linux
def test_a_process_that_is_gone_holds_nothing() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    assert sockets.holds(pid, [ListeningSocket(1, 0, "", 1)]) is False


@linux
def test_a_bound_socket_does_not_listen() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert sockets.listeners(bound.getsockname()[1]) == []


@linux
def test_addresses_that_the_loopback_does_not_reach(tmp_path: Any) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        assert sockets.listeners(listening.getsockname()[1]) == []


ROWS = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 00 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000005:00000000 02:00000A10 00000000     0        3 4712 2 00 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 00 20 4 30 10 -1
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4714 1 00 100 0 0 10 0
   4: 0100A8C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4715 1 00 100 0 0 10 0
"""


@linux
@pytest.mark.skipif(sys.byteorder != "little", reason="the rows are of a little-endian machine")
def test_rows_of_the_table(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcp").write_text(ROWS)
    monkeypatch.setattr(sockets, "_TABLES", (str(tmp_path / "tcp"), str(tmp_path / "tcp6")))
    assert sockets.listeners(8080) == [
        ListeningSocket(4711, 1000, "127.0.0.1", 8080),
        ListeningSocket(4712, 0, "0.0.0.0", 8080),
    ]
    monkeypatch.setattr(sockets, "_TABLES", (str(tmp_path / "none"),))
    assert sockets.listeners(8080) is None


def test_what_connections_reach() -> None:
    four, any_four, mapped = (
        ListeningSocket(1, 0, address, 1) for address in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1")
    )
    six, any_six = (ListeningSocket(2, 0, address, 1) for address in ("::1", "::"))
    for first in (four, any_four, mapped):
        assert sockets.reached([six, first, any_six]) == [first]
    assert sockets.reached([six]) == [six]
    assert sockets.reached([any_six]) == [any_six]
    assert sockets.reached([]) == []


def test_where_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(ip: str, port: int, status: str, pid: int | None) -> SimpleNamespace:
        return SimpleNamespace(laddr=SimpleNamespace(ip=ip, port=port), status=status, pid=pid)

    rows = [
        row("127.0.0.1", 80, psutil.CONN_LISTEN, 5),
        row("::1", 80, psutil.CONN_LISTEN, 6),
        row("::1", 80, psutil.CONN_LISTEN, None),
        row("127.0.0.1", 80, psutil.CONN_ESTABLISHED, 7),
        row("127.0.0.1", 81, psutil.CONN_LISTEN, 8),
        row("10.0.0.1", 80, psutil.CONN_LISTEN, 9),
    ]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(psutil, "net_connections", lambda kind: rows)
    found = sockets.listeners(80)
    assert found == [ListeningSocket(5, None, "127.0.0.1", 80), ListeningSocket(6, None, "::1", 80)]
    assert [sockets.holds(pid, found) for pid in (5, 6, 7)] == [True, True, False]

    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert sockets.listeners(80) is None
