"""The work of ``pagent report``: a child process, its port, and the report to the agent.

There is no event loop, because the start of a job waits for the start of this process, and the process lives as long as
the job. One thread waits for signals (sigtimedwait(2)); the end of the child is one of them.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import click

from pagent import limits
from pagent.cli.explained import with_name
from pagent.cli.servers.child import ForegroundChild
from pagent.jobs.placeholders import MAIN, fill, names
from pagent.jobs.ports import CONNECT_RETRY_FIRST_S, CONNECT_RETRY_MAX_S
from pagent.log import escape

_HOST: Final = "127.0.0.1"
_ENDPOINT: Final = "DA__PAGENT__JOB_ENDPOINT"
_JOB_ID: Final = "DA__PAGENT__JOB_ID"

EXIT_FAILED: Final = 1
EXIT_CANNOT_RUN: Final = 126
EXIT_NOT_FOUND: Final = 127

#: Addresses on which a listening socket accepts connections to the loopback.
_LOOPBACK_ADDRESSES: Final = ("0.0.0.0", _HOST, "::", "::1", f"::ffff:{_HOST}")

#: Seconds without a listening socket after which a message names the port that is waited for.
_HINT_S: Final = 5.0
#: Time for the agent's response to a report, which takes milliseconds.
_RESPONSE_S: Final = 10.0
#: Bytes of the reason of a refused report that are printed.
_REASON_BYTES: Final = 1000


class PortReportError(Exception):
    """The port cannot be reported. The text is the reason."""


def run(command: Sequence[str]) -> int:
    """Run ``command`` to its end, and return its exit code."""
    try:
        endpoint, job_id = os.environ[_ENDPOINT], os.environ[_JOB_ID]
    except KeyError as missing:
        _say(f"{missing.args[0]} is not set: run this command in a job that is started with one expected port")
        return EXIT_FAILED
    ports = {name: _free_port() for name in {MAIN, *(name for text in command for name in names(text))}}
    port = ports[MAIN]
    os.environ["PORT"] = str(port)
    try:
        child = ForegroundChild([fill(text, ports) for text in command])
    except OSError as error:
        _say(f"cannot start {command[0]}: {error.strerror}")
        return EXIT_NOT_FOUND if error.errno == errno.ENOENT else EXIT_CANNOT_RUN
    with child:
        try:
            if _wait_until_listening(child, port):
                _report(endpoint, job_id, port)
        except PortReportError as error:
            _say(f"cannot report port {port}: {error}")
            child.end(limits.TERM_GRACE_S)
            return EXIT_FAILED
        child.wait()
    assert child.exit_code is not None, "the child has ended"
    return child.exit_code


def _say(text: str) -> None:
    click.echo(f"pagent: {escape(with_name(text))}", err=True)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_until_listening(child: ForegroundChild, port: int) -> bool:
    """Wait until the port accepts connections. Return False if the child ends before."""
    began = time.monotonic()
    hint_s = _HINT_S
    delay_s = CONNECT_RETRY_FIRST_S
    while not _accepts(port):
        if child.wait(delay_s):
            _say(f"the command ended before port {port} accepted a connection")
            return False
        delay_s = min(delay_s * 1.5, CONNECT_RETRY_MAX_S)
        if time.monotonic() - began > hint_s:
            _say(f"waiting for the command to listen on {_HOST}:{port}, which it gets as {{port}} and in PORT")
            hint_s = float("inf")
    return True


def _accepts(port: int) -> bool:
    """Return whether a socket listens on the port, from the table of the system, or by connecting where there is none.

    Connecting is the second choice: some programs serve one connection only, and some log it as a failed login.
    """
    try:
        return _listens(port)
    except OSError:
        return _connects(port)


def _listens(port: int) -> bool:
    row = re.compile(rf": (?:{_hex_addresses()}):{port:04X} [0-9A-F]+:0000 0A ".encode("ascii"))
    found = False
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}", "rb") as file:
                found = found or row.search(file.read()) is not None
        except FileNotFoundError:
            if table == "tcp":
                raise
    return found


def _hex_addresses() -> str:
    """Return the addresses in the format of /proc/net/tcp: words of 32 bits, each in the machine's byte order."""
    texts = []
    for address in _LOOPBACK_ADDRESSES:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
        texts.append("".join(f"{word:08X}" for word in words))
    return "|".join(texts)


def _connects(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port)) as probe:
            # A socket can get the port that it connects to, and connect to itself (RFC 9293 section 3.5).
            return bool(probe.getsockname() != probe.getpeername())
    except OSError:
        return False


def _report(endpoint: str, job_id: str, port: int) -> None:
    """Report the port (docs/contract.rst, "Port report"). PortReportError with the reason if the agent refuses it."""
    url = urlsplit(endpoint)
    query = urlencode({"job_id": job_id, "port": port})
    try:
        # http.client uses no proxy of the environment: the agent is on this machine.
        connection = http.client.HTTPConnection(url.hostname or _HOST, url.port, timeout=_RESPONSE_S)
        connection.request("GET", f"{url.path or '/'}?{query}")
        response = connection.getresponse()
        reason = response.read(_REASON_BYTES).decode("utf-8", "replace").strip()
        connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise PortReportError(f"the agent does not respond at {endpoint}: {error}") from None
    if response.status != http.HTTPStatus.OK:
        raise PortReportError(f"the agent refused it with status {response.status}: {reason}")
