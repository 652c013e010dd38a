"""Further references if they are installed: reverse proxies with one worker each."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.process import running
from bench.workload import CHP

_START_TIMEOUT_S: Final = 10.0
#: ``make bench-peers`` installs configurable-http-proxy into the virtual environment.
_PATH: Final = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", f"{sys.prefix}/node_modules/.bin")
)

_NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    map $http_upgrade $connection_header {{ default upgrade; '' ''; }}
    upstream job {{ server 127.0.0.1:{job}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://job;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_header;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
            proxy_busy_buffers_size 128k;
            client_body_buffer_size 64k;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

_HAPROXY: Final = """\
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    http-reuse always
    option http-no-delay
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend near
    bind 127.0.0.1:{port} backlog 2048
    default_backend far
backend far
    server job 127.0.0.1:{job}
"""


_CHP: Final = """\
--ip 127.0.0.1 --port {port} --api-ip 127.0.0.1 --api-port {second_port}
--default-target http://127.0.0.1:{job} --log-level error
"""


def _nginx(program: str, config: Path) -> list[str]:
    return [program, "-e", "stderr", "-p", str(config.parent), "-c", str(config)]


def _haproxy(program: str, config: Path) -> list[str]:
    return [program, "-db", "-q", "-f", str(config)]


def _configurable_http_proxy(program: str, config: Path) -> list[str]:
    return [program, *config.read_text().split()]


_KINDS: Final[dict[str, tuple[str, Callable[[str, Path], list[str]], list[str]]]] = {
    "nginx": (_NGINX, _nginx, ["-v"]),
    "haproxy": (_HAPROXY, _haproxy, ["-v"]),
    CHP: (_CHP, _configurable_http_proxy, ["--version"]),
}


def installed() -> dict[str, str]:
    """Return name and version of each peer that is installed."""
    found = {}
    for name, (_, _, version) in _KINDS.items():
        if (program := shutil.which(name, path=_PATH)) is not None:
            said = subprocess.run([program, *version], capture_output=True, text=True, check=False)
            number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
            found[name] = number[0] if number else "unknown"
    return found


@asynccontextmanager
async def peer(name: str, job: int, folder: Path, core: int) -> AsyncIterator[tuple[int, int]]:
    """A peer in front of a job's port: its own port and its pid."""
    template, command, _ = _KINDS[name]
    program = shutil.which(name, path=_PATH)
    assert program is not None
    # They cannot listen on port 0 and report the port, so they get one that was free just before.
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as second:
        port, second_port = int(free.getsockname()[1]), int(second.getsockname()[1])
    config = folder / f"{name}.conf"
    config.write_text(template.format(folder=folder, job=job, port=port, second_port=second_port))
    async with running(command(program, config), core=core) as process:
        await _accepts(port, process)
        yield port, process.pid


async def _accepts(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until the port accepts. RuntimeError if the process ends instead."""
    async with asyncio.timeout(_START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if process.returncode is not None:
                    raise RuntimeError(f"a peer ended with {process.returncode} at its start") from None
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
