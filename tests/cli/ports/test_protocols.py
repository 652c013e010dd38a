from __future__ import annotations

from pathlib import Path

import pytest

from pagent.cli.ports.protocols import may_speak_http, scheme_of

TLS_APP = "context.load_cert_chain('cert.pem')\n"
WEB_APP = "from http.server import HTTPServer\n"


@pytest.mark.parametrize(
    ("command", "port", "scheme"),
    [
        (["python3", "-m", "http.server", "8000"], 8000, "http"),
        (["uvicorn", "app:app", "--port", "{port}"], 4000, "http"),
        (["uvicorn", "app:app", "--ssl-certfile", "cert.pem"], 4000, "https"),
        (["sh", "-c", "exec /opt/lab/bin/jupyter lab --port $PORT"], 4000, "http"),
        (["jupyter", "lab", "--certfile=cert.pem"], 4000, "https"),
        (["npm", "start"], 3000, "http"),
        (["redis-server", "--port", "{port}"], 4000, None),
        (["/usr/lib/postgresql/15/bin/postgres", "-p", "{port}"], 4000, None),
        (["sh", "-c", "exec /usr/sbin/sshd -D -p $PORT"], 4000, None),
        (["openssl", "s_server", "-accept", "{port}", "-cert", "http.pem"], 4000, None),
        (["./my-server"], 6379, None),
        (["./my-server", "--ssl-certfile", "cert.pem"], 4000, None),
        (["./my-server", "--backend", "https://example.org/"], 4000, None),
        (["./redis-server-dashboard"], 4000, None),
        (["./my-server"], None, None),
    ],
)
def test_the_scheme_of_a_command(command: list[str], port: int | None, scheme: str | None) -> None:
    assert scheme_of(command, port, None) == scheme


@pytest.mark.parametrize(
    ("content", "scheme"),
    [
        (WEB_APP, "http"),
        ("from fastapi import FastAPI\n", "http"),
        ("const app = require('express')()\n", "http"),
        (WEB_APP + TLS_APP, "https"),
        (TLS_APP, None),
        ("# see https://example.org/ and http://example.org/\nsocket.create_server(address)\n", None),
        ("\x7fELF http", None),
    ],
)
def test_the_script_of_a_command(content: str, scheme: str | None, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(content)
    assert scheme_of(["python3", "app.py"], 4000, str(tmp_path)) == scheme
    assert scheme_of(["python3", "app.py"], 4000, None) is None


def test_a_program_that_may_speak_http() -> None:
    assert may_speak_http(["./my-server"], 4000)
    assert not may_speak_http(["./my-server"], 5432)
    assert not may_speak_http(["postgres"], 4000)
