"""The work of ``pagent report``: a child process, its port, and the report to the agent.

There is no event loop: a job waits for this process to start, and the process stays as long as the job. One thread
waits for signals (sigtimedwait(2)), of which the end of the child is one.
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
from pagent.cli.child import Child
from pagent.jobs.placeholders import MAIN, fill, names
from pagent.jobs.ports import CONNECT_RETRY_FIRST_S, CONNECT_RETRY_MAX_S
from pagent.log import escape

_HOST: Final = "127.0.0.1"
_ENDPOINT: Final = "DA__PAGENT__JOB_ENDPOINT"
_JOB_ID: Final = "DA__PAGENT__JOB_ID"

EXIT_FAILED: Final = 1
EXIT_CANNOT_RUN: Final = 126
EXIT_NOT_FOUND: Final = 127

#: The addresses of a listening socket that connections to this machine's loopback interface reach.
_REACHED: Final = ("0.0.0.0", _HOST, "::", "::1", f"::ffff:{_HOST}")

#: After this time without a listening socket, a line tells what is waited for.
_HINT_S: Final = 5.0
#: An agent answers a report in milliseconds.
_ANSWER_S: Final = 10.0
#: The reason in a refusal is a line of text; this much of it is shown.
_REASON_BYTES: Final = 1000


class ReportError(Exception):
    """The port cannot be reported; the text is the reason."""


def run(command: Sequence[str]) -> int:
    """Run ``command`` to its end and return our exit code."""
    try:
        endpoint, job_id = os.environ[_ENDPOINT], os.environ[_JOB_ID]
    except KeyError as missing:
        _say(f"{missing.args[0]} is not set: this command is for jobs that are started with one expected port")
        return EXIT_FAILED
    ports = {name: _free_port() for name in {MAIN, *(name for text in command for name in names(text))}}
    port = ports[MAIN]
    os.environ["PORT"] = str(port)
    try:
        child = Child([fill(text, ports) for text in command])
    except OSError as error:
        _say(f"{command[0]} cannot be started: {error.strerror}")
        return EXIT_NOT_FOUND if error.errno == errno.ENOENT else EXIT_CANNOT_RUN
    with child:
        try:
            if _wait_until_listening(child, port):
                _report(endpoint, job_id, port)
        except ReportError as error:
            _say(f"port {port} cannot be reported: {error}")
            child.end(limits.TERM_GRACE_S)
            return EXIT_FAILED
        child.wait()
    assert child.exit_code is not None, "it has ended"
    return child.exit_code


def _say(text: str) -> None:
    click.echo(f"pagent: {escape(text)}", err=True)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_until_listening(child: Child, port: int) -> bool:
    """Return True once the port accepts connections, False if the child ends before."""
    began = time.monotonic()
    hint_s = _HINT_S
    delay_s = CONNECT_RETRY_FIRST_S
    while not _accepts(port):
        if child.wait(delay_s):
            _say(f"the command ended before port {port} accepted a connection")
            return False
        delay_s = min(delay_s * 1.5, CONNECT_RETRY_MAX_S)
        if time.monotonic() - began > hint_s:
            _say(f"waiting for the command to listen on {_HOST}:{port}, which is {{port}} and the variable PORT")
            hint_s = float("inf")
    return True


def _accepts(port: int) -> bool:
    """Return whether a socket listens on the port: by the system's table, or by connecting where there is none.

    A connection would use up a program that serves one, and some servers log it as a failed login.
    """
    try:
        return _listens(port)
    except OSError:
        return _connects(port)


def _listens(port: int) -> bool:
    row = re.compile(rf": (?:{_reached_addresses()}):{port:04X} [0-9A-F]+:0000 0A ".encode("ascii"))
    found = False
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}", "rb") as file:
                found = found or row.search(file.read()) is not None
        except FileNotFoundError:
            if table == "tcp":
                raise
    return found


def _reached_addresses() -> str:
    """Return the addresses as /proc/net/tcp writes them: words of 32 bits, each in the byte order of the machine."""
    texts = []
    for address in _REACHED:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
        texts.append("".join(f"{word:08X}" for word in words))
    return "|".join(texts)


def _connects(port: int) -> bool:
    try:
        with socket.create_connection((_HOST, port)) as probe:
            # A socket may be given the very port that it connects to and meet itself (RFC 9293, simultaneous open).
            return bool(probe.getsockname() != probe.getpeername())
    except OSError:
        return False


def _report(endpoint: str, job_id: str, port: int) -> None:
    """Report the port (docs/contract.rst, "Port report"). ReportError with the reason if it is not taken."""
    url = urlsplit(endpoint)
    query = urlencode({"job_id": job_id, "port": port})
    try:
        # No proxy of the environment: the agent is on this machine.
        connection = http.client.HTTPConnection(url.hostname or _HOST, url.port, timeout=_ANSWER_S)
        connection.request("GET", f"{url.path or '/'}?{query}")
        answer = connection.getresponse()
        reason = answer.read(_REASON_BYTES).decode("utf-8", "replace").strip()
        connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ReportError(f"the agent does not answer at {endpoint}: {error}") from None
    if answer.status != http.HTTPStatus.OK:
        raise ReportError(f"the agent refuses it with status {answer.status}: {reason}")
