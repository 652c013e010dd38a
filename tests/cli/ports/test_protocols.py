from __future__ import annotations

import pytest

from pagent.cli.ports.protocols import speaks_http


@pytest.mark.parametrize(
    ("command", "port", "http"),
    [
        (["python3", "-m", "http.server", "8000"], 8000, True),
        (["redis-server", "--port", "{port}"], 4000, False),
        (["/usr/lib/postgresql/15/bin/postgres", "-p", "{port}"], 4000, False),
        (["sh", "-c", "exec /usr/sbin/sshd -D -p $PORT"], 4000, False),
        (["./my-server"], 6379, False),
        (["./redis-server-dashboard"], 4000, True),
        (["./my-server"], None, True),
    ],
)
def test_the_protocol_of_a_command(command: list[str], port: int | None, http: bool) -> None:
    assert speaks_http(command, port) is http
